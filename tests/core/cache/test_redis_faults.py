"""Faults of Redis, by their numbers: none of them raises, slows for long, or gives a wrong vector."""

import os
import pickle
import struct
import threading
import zlib

import numpy as np
import pytest

from semantic_ranker.cache import RedisOptions, TieredCache
from semantic_ranker.errors import CacheError

TEXTS = [f"text {number}" for number in range(20)]


def test_01_dead_port_at_start(start_server, open_cache, model, warnings_of):
    server = start_server()
    server.kill()
    cache = open_cache(server.url, memory_bytes=1_000_000)
    for _ in range(5):
        model.check(cache, TEXTS)
    assert model.asked == [TEXTS]
    assert len(warnings_of()) == 1
    stats = cache.stats()
    assert stats.redis_available is False
    assert stats.redis.errors == {"refused": 1}


def test_02_killed_between_two_calls(start_server, open_cache, model):
    server = start_server()
    cache = open_cache(server.url)
    model.check(cache, TEXTS)
    server.kill()
    for _ in range(3):
        model.check(cache, TEXTS)
    assert len(model.asked) == 4
    assert not cache.stats().redis_available


def test_03_hung_server_is_left_alone_after_three_answers_that_never_came(start_server, open_cache, model):
    server = start_server()
    cache = open_cache(server.url, timeout_s=0.05)
    model.check(cache, TEXTS)
    server.hang()
    for _ in range(10):
        model.check(cache, TEXTS)
    stats = cache.stats()
    assert not stats.redis_available
    assert stats.redis.errors["timeout"] <= 3


def test_03_one_call_waits_for_a_hung_server_once(start_server, open_cache, model):
    server = start_server()
    cache = open_cache(server.url, timeout_s=0.05)
    server.hang()
    model.check(cache, [f"{number}" for number in range(1000)])
    assert cache.stats().redis.errors["timeout"] == 1


def test_04_hits_resume_after_the_pause(start_server, open_cache, model, clock, wait_until):
    server = start_server()
    cache = open_cache(server.url, timeout_s=0.05)
    model.check(cache, TEXTS)
    server.hang()
    for _ in range(3):
        model.check(cache, TEXTS)
    server.resume()
    assert not cache.stats().redis_available
    clock.now += 1.01
    wait_until(lambda: cache.stats().redis_available)
    computed = len(model.asked)
    model.check(cache, TEXTS)
    assert len(model.asked) == computed


def test_04_a_restarted_server_is_used_again(start_server, open_cache, model, clock, wait_until):
    server = start_server()
    cache = open_cache(server.url)
    model.check(cache, TEXTS)
    server.kill()
    model.check(cache, TEXTS)
    for _ in range(3):
        clock.now += 1.01
        before = cache.stats().redis.errors["refused"]
        model.check(cache, TEXTS)
        wait_until(lambda before=before: cache.stats().redis.errors["refused"] > before)
    server.start()
    clock.now += 1.01
    wait_until(lambda: cache.stats().redis_available)
    model.check(cache, TEXTS)
    computed = len(model.asked)
    model.check(cache, TEXTS)
    assert len(model.asked) == computed


def test_05_flushall(server, open_cache, model):
    cache = open_cache(server.url)
    model.check(cache, TEXTS)
    with server.client() as client:
        client.flushall()
    model.check(cache, TEXTS)
    model.check(cache, TEXTS)
    stats = cache.stats()
    assert len(model.asked) == 2
    assert (stats.redis.misses, stats.redis.hits, stats.redis.errors) == (40, 20, {})


def test_06_full_server_is_still_read(start_server, open_cache, model, clock):
    server = start_server("--maxmemory-policy", "noeviction")
    cache = open_cache(server.url)
    model.check(cache, TEXTS)
    with server.client() as client:
        client.config_set("maxmemory", "1")
    model.check(cache, ["new"])
    assert cache.stats().redis.errors == {"oom": 1}
    model.check(cache, TEXTS)
    assert len(model.asked) == 2
    assert cache.stats().redis_available
    model.check(cache, ["newer"])
    assert cache.stats().redis.errors == {"oom": 1}
    with server.client() as client:
        client.config_set("maxmemory", "0")
    clock.now += 5
    model.check(cache, ["newest"])
    assert len(server.names()) == len(TEXTS) + 1


def test_07_a_key_of_another_type_is_a_miss(server, open_cache, model):
    cache = open_cache(server.url)
    model.check(cache, TEXTS[:2])
    (first, _) = server.names()
    with server.client() as client:
        client.delete(first)
        client.hset(first, "field", "value")
    model.check(cache, TEXTS[:2])
    assert len(model.computed) == 3
    model.check(cache, TEXTS[:2])
    assert len(model.computed) == 3


@pytest.mark.parametrize("credentials", ["", ":geheim-falsch@", "nobody:geheim-falsch@"])
def test_08_wrong_password(start_server, open_cache, model, caplog, warnings_of, credentials):
    server = start_server("--requirepass", "richtig")
    cache = open_cache(f"redis://{credentials}127.0.0.1:{server.port}/0")
    for _ in range(5):
        model.check(cache, TEXTS)
    (warning,) = warnings_of()
    assert "refuses the user or password" in warning.getMessage()
    assert "geheim-falsch" not in caplog.text
    assert "geheim-falsch" not in repr(cache)
    assert cache.stats().redis.errors == {"auth": 1}


def test_08_right_password(start_server, open_cache, model):
    server = start_server("--requirepass", "richtig")
    cache = open_cache(f"redis://:richtig@127.0.0.1:{server.port}/0")
    model.check(cache, TEXTS)
    model.check(cache, TEXTS)
    assert model.asked == [TEXTS]


def _with_crc(value, key):
    """Return a changed value with the CRC that belongs to it."""
    crc = 0
    for part in (key, value[:8], value[12:16], value[16:]):
        crc = zlib.crc32(part, crc)
    return value[:8] + struct.pack("<I", crc) + value[12:]


DAMAGES = {
    "09 truncated by a byte": lambda value, key: value[:-1],
    "09 truncated in the header": lambda value, key: value[:7],
    "09 one byte more": lambda value, key: value + b"\0",
    "10 bit flip in a component": lambda value, key: value[:20] + bytes([value[20] ^ 4]) + value[21:],
    "10 bit flip in the scale": lambda value, key: value[:13] + bytes([value[13] ^ 4]) + value[14:],
    "10 bit flip in the CRC": lambda value, key: value[:9] + bytes([value[9] ^ 4]) + value[10:],
    "11 empty": lambda value, key: b"",
    "12 foreign megabyte": lambda value, key: bytes(1_000_000),
    "14 older schema": lambda value, key: _with_crc(b"SRE0" + value[4:], key),
    "15 unknown codec": lambda value, key: _with_crc(value[:4] + b"\x07" + value[5:], key),
    "15 unknown flags": lambda value, key: _with_crc(value[:5] + b"\x01" + value[6:], key),
    "15 another dimension": lambda value, key: _with_crc(
        value[:6] + struct.pack("<H", 4) + value[8:16] + value[16:24], key
    ),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_09_to_15_damaged_values_are_deleted_and_computed_again(server, open_cache, model, damage):
    cache = open_cache(server.url)
    model.check(cache, TEXTS[:3])
    with server.client() as client:
        for key in server.names():
            client.set(key, damage(client.get(key), key))
    seen = []
    model.through(cache, TEXTS[:3], lambda texts: seen.append(server.names()) or model(texts))
    assert seen == [[]]
    assert cache.stats().redis.corrupt == 3
    model.check(cache, TEXTS[:3])
    assert len(model.asked) == 2
    assert len(server.names()) == 3


class _Canary:
    def __reduce__(self):
        return os.mkdir, (os.environ["CANARY"],)


def test_13_pickles_are_never_read(server, open_cache, model, tmp_path, monkeypatch):
    monkeypatch.setenv("CANARY", str(tmp_path / "canary"))
    cache = open_cache(server.url)
    model.check(cache, TEXTS[:3])
    server.change(lambda value: pickle.dumps(_Canary()))
    model.check(cache, TEXTS[:3])
    assert not (tmp_path / "canary").exists()
    assert cache.stats().redis.corrupt == 3


def test_16_some_are_kept_and_order_stays(server, open_cache, model):
    cache = open_cache(server.url)
    model.check(cache, TEXTS[::2])
    model.check(cache, TEXTS[::-1])
    assert model.asked == [TEXTS[::2], TEXTS[::-1][::2]]


def test_17_more_callers_than_connections(proxy, open_cache, make_model, wait_until):
    cache = open_cache(proxy.url, timeout_s=0.5, redis={"max_connections": 1})
    proxy.delay_s = 0.2
    models = [make_model(name=str(number)) for number in range(16)]
    threads = [threading.Thread(target=model.check, args=(cache, TEXTS[:2])) for model in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert all(model.asked == [TEXTS[:2]] for model in models)
    stats = cache.stats()
    assert stats.redis.errors["pool"] > 0
    assert set(stats.redis.errors) == {"pool"}
    assert stats.redis_available


def test_18_connection_cut_while_writing(proxy, server, open_cache, model, clock, wait_until):
    for sent in range(0, 3000, 251):
        proxy.cut_request = sent
        cache = open_cache(proxy.url)
        model.check(cache, TEXTS)
        proxy.cut_request = None
    kept = len(server.names())
    assert 0 < kept <= len(TEXTS)
    before = len(model.computed)
    model.check(open_cache(server.url), TEXTS)
    assert len(model.computed) == before + len(TEXTS) - kept


def test_19_read_only_replica_is_still_read(start_server, open_cache, model):
    server = start_server()
    cache = open_cache(server.url)
    model.check(cache, TEXTS)
    with server.client() as client:
        client.replicaof("127.0.0.1", 1)
    model.check(cache, [*TEXTS, "new"])
    model.check(cache, [*TEXTS, "new"])
    assert model.asked == [TEXTS, ["new"], ["new"]]
    assert cache.stats().redis.errors == {"readonly": 1}
    assert cache.stats().redis_available


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (b"-LOADING Redis is loading the dataset in memory\r\n", "loading"),
        (b"-MOVED 3999 127.0.0.1:1\r\n", "cluster"),
        (b"-CLUSTERDOWN Hash slot not served\r\n", "cluster"),
        (b"-ERR something else\r\n", "response"),
        (b"*1\r\n$-1\r\n", "response"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "response"),
    ],
)
def test_19_20_answers_that_are_none(proxy, open_cache, model, warnings_of, reply, kind):
    proxy.reply = reply
    cache = open_cache(proxy.url)
    for _ in range(6):
        model.check(cache, TEXTS)
    stats = cache.stats()
    assert not stats.redis_available
    assert set(stats.redis.errors) == {kind}
    assert kind in warnings_of()[-1].getMessage()


def test_20_a_cluster_without_slots(start_server, open_cache, model):
    server = start_server("--cluster-enabled", "yes")
    cache = open_cache(server.url)
    for _ in range(4):
        model.check(cache, TEXTS[:1])
    assert not cache.stats().redis_available
    assert set(cache.stats().redis.errors) == {"cluster"}


def test_21_slow_server(proxy, open_cache, model):
    proxy.delay_s = 0.2
    cache = open_cache(proxy.url, timeout_s=0.05)
    for _ in range(20):
        model.check(cache, TEXTS)
    stats = cache.stats()
    assert not stats.redis_available
    assert stats.redis.errors == {"timeout": 3}


def test_22_answers_cut_in_the_middle_never_reach_another_key(proxy, server, open_cache, model, clock, wait_until):
    cache = open_cache(proxy.url, redis={"fail_max": 1000})
    model.check(open_cache(server.url), TEXTS)
    for kept in range(0, 700, 53):
        proxy.cut_reply = kept
        model.check(cache, TEXTS[:10])
        proxy.cut_reply = None
        model.check(cache, TEXTS[10:])
    assert cache.stats().redis.hits > 0
    assert cache.stats().redis.corrupt == 0


def test_22_a_late_answer_never_reaches_another_key(proxy, server, open_cache, model):
    model.check(open_cache(server.url), TEXTS)
    cache = open_cache(proxy.url, timeout_s=0.05, redis={"fail_max": 1000})
    for text in TEXTS:
        proxy.delay_s = 0.08 if text == TEXTS[0] else 0.0
        model.check(cache, [text])
    assert cache.stats().redis.errors["timeout"] >= 1
    assert cache.stats().redis.hits > 0


def test_22_a_value_of_another_key_is_refused(server, open_cache, model):
    cache = open_cache(server.url)
    model.check(cache, TEXTS[:2])
    with server.client() as client:
        first, second = server.names()
        one, two = client.get(first), client.get(second)
        client.mset({first: two, second: one})
    model.check(cache, TEXTS[:2])
    assert cache.stats().redis.corrupt == 2


def test_23_expired_vectors_are_computed_again(server, open_cache, model):
    cache = open_cache(server.url)
    model.check(cache, TEXTS)
    with server.client() as client:
        for key in server.names()[:5]:
            client.pexpire(key, 0)
    model.check(cache, TEXTS)
    assert len(model.computed) == len(TEXTS) + 5


def test_23_time_to_live_has_jitter(server, open_cache, model):
    model.check(open_cache(server.url, redis={"ttl_s": 1000.0}), TEXTS)
    with server.client() as client:
        left = [client.pttl(key) / 1000 for key in server.names()]
    assert all(890 <= seconds <= 1100 for seconds in left)
    assert len(set(left)) > 10


def test_24_unknown_host(open_cache, model, warnings_of):
    cache = open_cache("redis://:secret@no-such-host.invalid:6379/0")
    for _ in range(3):
        model.check(cache, TEXTS)
    assert cache.stats().redis.errors == {"refused": 1}
    assert len(warnings_of()) == 1


def test_25_clear_touches_no_other_key(server, open_cache, model):
    cache = open_cache(server.url, memory_bytes=1_000_000)
    others = {"sr:e": b"1", "sr:x:1": b"2", "xsr:e:1": b"3", "SR:E:1": b"4", "user:1": b"5"}
    with server.client() as client:
        client.mset(others)
        model.check(cache, [f"text {number}" for number in range(700)])
        assert cache.clear() == 700
        assert {key.decode(): client.get(key) for key in client.scan_iter()} == others
    assert cache.stats().memory.entries == 0
    model.check(cache, TEXTS)
    assert model.asked[1] == TEXTS


def test_26_a_forked_child_has_connections_of_its_own(server, open_cache, model):
    cache = open_cache(server.url, memory_bytes=1_000_000)
    model.check(cache, TEXTS)
    with server.client() as client:
        ours = {entry["id"] for entry in client.client_list()}
        reading, writing = os.pipe()
        if not (child := os.fork()):
            try:
                before = cache.stats().lookups
                model.check(cache, TEXTS)
                new = [entry for entry in client.client_list() if entry["id"] not in ours]
                os.write(writing, pickle.dumps((before, len(model.asked), cache.stats().redis.hits, len(new) >= 1)))
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        answer = pickle.loads(os.read(reading, 4096))
        os.close(reading)
        os.close(writing)
    assert answer == (0, 1, len(TEXTS), True)
    model.check(cache, TEXTS)
    assert model.asked == [TEXTS]


def test_keys_hold_no_text(server, open_cache, model):
    model.check(open_cache(server.url), ["a secret sentence"])
    (key,) = server.names()
    schema, space, role, digest = key.decode().removeprefix("sr:e:").split(":")
    assert (schema, space, role, len(digest)) == ("1", model.space.short, "q", 32)
    with server.client() as client:
        assert b"secret" not in client.get(key)


def test_a_unix_socket_works(start_server, open_cache, model, tmp_path):
    path = tmp_path / "redis.sock"
    start_server("--unixsocket", str(path))
    cache = open_cache(f"unix://{path}")
    model.check(cache, TEXTS)
    model.check(cache, TEXTS)
    assert model.asked == [TEXTS]


@pytest.mark.parametrize("url", ["redis://10.1.2.3:6379/0", "rediss://cache.example:6379", "redis://user@10.1.2.3"])
def test_another_machine_without_a_password_is_refused(url):
    with pytest.raises(CacheError, match="Expected a password"):
        TieredCache(url)
    TieredCache(url, redis=RedisOptions(allow_unprotected=True)).close()


@pytest.mark.parametrize("url", ["rediss://:secret@10.1.2.3:6379/0", "redis://localhost", "redis://[::1]:6379"])
def test_urls_that_are_fine(url):
    TieredCache(url).close()


@pytest.mark.parametrize("url", ["http://:geheim@localhost", "localhost:6379", "redis://:geheim@localhost:port", 3])
def test_urls_that_are_none_are_refused_without_showing_them(url):
    with pytest.raises(CacheError, match="Expected a URL of Redis") as caught:
        TieredCache(url)
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize("name", ["ttl_s", "timeout_s", "fail_max", "reset_s", "max_connections"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), True, "1"])
def test_numbers_of_redis_are_checked(name, value):
    with pytest.raises(CacheError, match=name):
        RedisOptions(**{name: value})


def test_second_process_finds_what_the_first_kept(server, open_cache, model, make_model):
    model.check(open_cache(server.url, codec="int8"), TEXTS, 1e-2)
    other = make_model()
    other.check(open_cache(server.url, codec="fp32"), TEXTS, 1e-2)
    assert other.asked == []


def test_another_role_or_space_is_never_served(server, open_cache, make_model):
    cache = open_cache(server.url, memory_bytes=1_000_000)
    models = [make_model(), make_model(role="d"), make_model(name="b"), make_model(dim=16)]
    for _ in range(2):
        for model in models:
            model.check(cache, TEXTS)
    assert all(model.asked == [TEXTS] for model in models)


def test_nothing_private_in_the_logs(start_server, open_cache, model, caplog):
    caplog.set_level("DEBUG")
    server = start_server("--requirepass", "geheim-richtig")
    cache = open_cache(f"redis://:geheim-richtig@127.0.0.1:{server.port}/0", timeout_s=0.05)
    model.check(cache, ["canary sentence"])
    with server.client(password="geheim-richtig") as client:
        for key in client.scan_iter():
            client.set(key, b"damaged")
    model.check(cache, ["canary sentence"])
    server.kill()
    model.check(cache, ["canary sentence"])
    model.through(cache, ["zero canary"], lambda texts: np.zeros((1, 8)))
    for secret in ("canary", "geheim", "SRE1"):
        assert secret not in caplog.text
