"""How large, how often, over what link."""
import dataclasses


@dataclasses.dataclass
class Settings:
    runs: int = 3
    rtt_ms: float = 50
    mbit: float = 20
    compress: str = "yes"
    options: list = dataclasses.field(default_factory=list)  # more -o options of imapfs
    texts: int = 2_000        # messages of the cold and the loopback workloads
    held: int = 20_000        # ... of the warm ones
    large: int = 100_000
    million: int = 1_000_000
    subjects: int = 10_000
    attachment: int = 40_000_000
    sample: int = 200         # files for sshfs, where all of them would take an hour
    probes: int = 8


QUICK = {"runs": 1, "texts": 100, "held": 300, "large": 2_000, "million": 5_000, "subjects": 500,
         "attachment": 4_000_000, "sample": 20, "probes": 4}
