"""What job services cost, as far as that can be told from their run time.

Purpose: seconds in a compute pool become an estimate in credits. Guarantee: exact arithmetic; what has no rate has no
estimate, and neither has the sum that it belongs to. Never: a bill. Snowflake bills the nodes of a pool, idle ones too,
for five minutes at least; the estimate is that of a node which a job has to itself for as long as it runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

#: Credits per hour and node of each instance family. Source: Snowflake's Service Consumption Table as effective on
#: 13 January 2026; accounts have their own, so that every rate can be set.
CREDITS_PER_HOUR: Mapping[str, Decimal] = {
    family: Decimal(rate)
    for family, rate in {
        "CPU_X64_XS": "0.06",
        "CPU_X64_S": "0.11",
        "CPU_X64_M": "0.22",
        "CPU_X64_SL": "0.41",
        "CPU_X64_L": "0.83",
        "HIGHMEM_X64_S": "0.28",
        "HIGHMEM_X64_M": "1.11",
        "HIGHMEM_X64_SL": "2.93",
        "HIGHMEM_X64_L": "4.44",
        "GPU_NV_XS": "0.25",
        "GPU_NV_S": "0.57",
        "GPU_NV_SM": "1.70",
        "GPU_NV_M": "2.68",
        "GPU_NV_2M": "3.50",
        "GPU_NV_3M": "3.55",
        "GPU_NV_SL": "13.50",
        "GPU_NV_L": "14.12",
        "GPU_GCP_NV_L4_1_24G": "0.43",
        "GPU_GCP_NV_L4_4_24G": "1.94",
        "GPU_GCP_NV_A100_8_40G": "11.68",
    }.items()
}
HOUR = Decimal(3600)
#: Digits after the point of an estimate.
PLACES = Decimal("0.000001")


@dataclass(frozen=True, kw_only=True, slots=True)
class Rates:
    """Credits per hour by instance family, and families by compute pool (see `pool_key`)."""

    credits_per_hour: Mapping[str, Decimal] = field(default_factory=lambda: CREDITS_PER_HOUR)
    families: Mapping[str, str] = field(default_factory=dict)

    def credits(self, pool: str, seconds: float, *, replicas: int = 1, family: str | None = None) -> Decimal | None:
        """The estimate for so long a time in a pool; None if nobody knows the pool's family or the family's rate.

        A family that is set for the pool goes before `family`, which is the one that Snowflake told.
        """
        rate = self.credits_per_hour.get(self.families.get(pool_key(pool), family or ""))
        return None if rate is None else Decimal(repr(seconds)) * replicas * rate / HOUR


def pool_key(pool: str) -> str:
    """A pool's name as an identifier means it: in upper case, unless it is quoted."""
    return pool if pool.startswith('"') else pool.upper()


def total(estimates: Iterable[Decimal | None]) -> Decimal | None:
    """The sum; None if a part of it is not known."""
    found = Decimal(0)
    for estimate in estimates:
        if estimate is None:
            return None
        found += estimate
    return found


def shown(estimate: Decimal | None) -> float | None:
    """An estimate as JSON has it."""
    return None if estimate is None else float(estimate.quantize(PLACES))
