"""Anything may happen to Redis and to the memory, in any order: a vector is right, and no call raises."""

import numpy as np
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

TEXTS = [f"text {number}" for number in range(8)]
MODELS = [("a", 8, "q"), ("a", 8, "d"), ("b", 8, "q"), ("a", 16, "q")]
DAMAGES = {
    "flip": lambda value: value[:-1] + bytes(byte ^ 1 for byte in value[-1:]),
    "cut": lambda value: value[:-1],
    "empty": lambda value: b"",
    "junk": lambda value: b"junk" * 100,
}
batches = st.lists(st.sampled_from(TEXTS), min_size=1, max_size=10)


def test_vectors_are_right_whatever_happens(start_server, make_model, open_cache, clock, wait_until):
    server = start_server()
    served = []

    class Machine(RuleBasedStateMachine):
        """What is right is what the model gives; what is kept is at liberty to be there or not."""

        def __init__(self):
            super().__init__()
            self.model = make_model()
            if server.process is None:
                server.start()
            with server.client() as client:
                client.flushall()
            self.texts = TEXTS[:2]
            self.reopen("fp16", 0)

        @rule(codec=st.sampled_from(["fp16", "int8", "fp32"]), room=st.sampled_from([0, 1, 4, 100]))
        def reopen(self, codec, room):
            policy = "lru" if room % 2 else "tinylfu"
            self.cache = open_cache(
                server.url, codec=codec, memory_bytes=room * 300, policy=policy, redis={"max_connections": 2}
            )

        @rule(which=st.sampled_from(MODELS))
        def change_model(self, which):
            name, dim, role = which
            self.model = make_model(dim=dim, name=name, role=role)

        @rule(texts=batches)
        def ask(self, texts):
            self.texts = texts

        @invariant()
        def vectors_are_right(self):
            self.model.check(self.cache, self.texts, 2e-2)
            stats = self.cache.stats()
            assert stats.hits + stats.misses == stats.lookups
            served.append(stats.redis.hits)

        @rule(texts=batches)
        def ask_a_failing_model(self, texts):
            def broken(missing):
                raise RuntimeError("no model")

            try:
                vectors = self.model.through(self.cache, texts, broken)
            except RuntimeError:
                return
            for text, vector in zip(texts, vectors, strict=True):
                np.testing.assert_allclose(vector, self.model.truth(text), atol=2e-2)

        @rule()
        def forget_memory(self):
            self.cache._memory.clear()

        @rule()
        def clear(self):
            self.cache.clear()

        @precondition(lambda self: server.process is not None)
        @rule(damage=st.sampled_from(sorted(DAMAGES)))
        def corrupt(self, damage):
            server.change(DAMAGES[damage])

        @precondition(lambda self: server.process is not None)
        @rule()
        def swap(self):
            keys = server.names()
            if len(keys) > 1:
                with server.client() as client:
                    values = client.mget(keys)
                    client.mset(dict(zip(keys, values[1:] + values[:1], strict=True)))

        @precondition(lambda self: server.process is not None)
        @rule()
        def evict(self):
            with server.client() as client:
                for key in server.names()[::2]:
                    client.delete(key)

        @precondition(lambda self: server.process is not None)
        @rule()
        def kill(self):
            server.kill()

        @precondition(lambda self: server.process is None)
        @rule()
        def restart(self):
            server.start()

        @rule()
        def wait(self):
            clock.now += 2
            if server.process is not None:
                wait_until(lambda: self.cache.stats().redis_available)

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=20,
            stateful_step_count=30,
            deadline=None,
            derandomize=True,
            database=None,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert max(served) > 0
