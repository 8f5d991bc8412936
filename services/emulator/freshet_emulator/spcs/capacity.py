"""What one node of an instance family offers, and what a specification asks for.

Sizes are those that Snowflake documents for AWS: vCPU and GiB that containers can use. A family that is not listed
sets no limit here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from freshet_emulator.errors import SqlError, invalid_specification
from freshet_emulator.spcs.specification import ContainerSpecification

# vCPU, GiB, GPUs.
FAMILIES: Mapping[str, tuple[float, float, int]] = {
    "CPU_X64_XS": (1, 6, 0),
    "CPU_X64_S": (3, 13, 0),
    "CPU_X64_M": (6, 28, 0),
    "CPU_X64_SL": (14, 58, 0),
    "CPU_X64_L": (28, 116, 0),
    "GEN_X64_G2_2": (1, 6, 0),
    "GEN_X64_G2_4": (3, 13, 0),
    "GEN_X64_G2_8": (6, 28, 0),
    "GEN_X64_G2_32": (28, 116, 0),
    "HIGHMEM_X64_S": (6, 58, 0),
    "HIGHMEM_X64_M": (28, 240, 0),
    "HIGHMEM_X64_L": (124, 984, 0),
    "GPU_NV_S": (6, 28, 1),
    "GPU_NV_M": (44, 178, 4),
    "GPU_NV_L": (92, 1112, 8),
}
UNITS = {"M": 1e6, "MI": 2**20, "G": 1e9, "GI": 2**30}
MEMORY = re.compile(r"(\d+(?:\.\d+)?)\s*(M|Mi|G|Gi)", re.IGNORECASE)
GIB = 2**30
GPU = "nvidia.com/gpu"


def cpu(value: str) -> float:
    """A number of CPUs, also in thousandths (`500m`). Raises SqlError 395018."""
    number, scale = (value[:-1], 1000.0) if value.endswith("m") else (value, 1.0)
    try:
        return float(number) / scale
    except ValueError as error:
        raise invalid_specification(f"resources: '{value}' is not a number of CPUs") from error


def memory(value: str) -> float:
    """Bytes. Raises SqlError 395018 for a size without a unit."""
    found = MEMORY.fullmatch(value)
    if found is None:
        raise invalid_specification(f"resources: '{value}' is not a size of memory with its unit (M, Mi, G, Gi)")
    return float(found[1]) * UNITS[found[2].upper()]


def demand(containers: list[ContainerSpecification]) -> tuple[float, float, int]:
    """CPUs, GiB and GPUs that one instance asks for. Raises SqlError 395018."""
    totals = [0.0, 0.0, 0.0]
    for container in containers:
        asked = {**container.resources.limits, **container.resources.requests}
        totals[0] += cpu(asked.get("cpu", "0"))
        totals[1] += memory(asked["memory"]) / GIB if "memory" in asked else 0.0
        totals[2] += float(asked.get(GPU, "0"))
        for value in container.resources.limits.items():
            check(*value)
    return totals[0], totals[1], int(totals[2])


def check(key: str, value: str) -> None:
    """Refuse a resource that can't be read."""
    if key == "memory":
        memory(value)
    elif key == "cpu":
        cpu(value)


def require_fit(family: str, containers: list[ContainerSpecification]) -> None:
    """Raises SqlError 395018 if no node of this family could ever run these containers."""
    asked, offered = demand(containers), FAMILIES.get(family.upper())
    if offered is None:
        return
    for what, wanted, there in zip(("CPU", "GiB of memory", "GPU"), asked, offered, strict=True):
        if wanted > there:
            raise too_large(family, f"{wanted:g} {what}", f"{there:g}")


def too_large(family: str, wanted: str, there: str) -> SqlError:
    """The error for a request that no node can meet."""
    return invalid_specification(
        f"the requested resources can never be met: {wanted} wanted, a node of {family} has {there}"
    )
