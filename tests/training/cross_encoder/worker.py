"""One run in a process of its own, to be killed, filled up or doubled: worker.py BASE GROUPS OUT JSON-SETTINGS."""

import hashlib
import json
import resource
import sys
from pathlib import Path

import torch

from semantic_ranker_training.cross_encoder import CrossEncoderTrainer
from semantic_ranker_training.data import read_groups


def main() -> None:
    base, groups, out, settings = sys.argv[1:5]
    options = json.loads(settings)
    limit = options.pop("file_size_limit", None)
    torch.set_num_threads(1)
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    trainer = CrossEncoderTrainer(base, **options)
    kept = {}
    finish = trainer._finish

    def finish_and_hash(run):
        # The weights of this process, whichever of them is saved.
        digest = hashlib.sha256()
        for value in run.model.state_dict().values():
            digest.update(value.detach().cpu().numpy().tobytes())
        kept["sha256"] = digest.hexdigest()
        return finish(run)

    trainer._finish = finish_and_hash
    trainer.train(list(read_groups(groups)), (), output_dir=out)
    if torch.distributed.is_initialized():
        Path(out, f"rank-{torch.distributed.get_rank()}.json").write_text(json.dumps(kept))
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
