"""An HTTP API of the models and an index of this machine, in the shapes that existing clients speak."""

from semantic_ranker.server.config import ServerConfig
from semantic_ranker.server.following import FollowedPipeline
from semantic_ranker.server.running import serve
from semantic_ranker.server.service import Service

__all__ = ["FollowedPipeline", "ServerConfig", "Service", "serve"]
