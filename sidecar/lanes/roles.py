"""Which role a method needs. What stands in no table needs `operate`: a method that was forgotten here is shut."""

from sidecar.door.tokens import Role
from sidecar.lanes import fleet
from sidecar.lanes.services import INFO, REPORT_OUTCOME, ROUTE, ROUTE_BATCH, ROUTE_STREAM

ROLES = {
    ROUTE: Role.ROUTE,
    ROUTE_BATCH: Role.ROUTE,
    ROUTE_STREAM: Role.ROUTE,
    INFO: Role.ROUTE,
    REPORT_OUTCOME: Role.REPORT,
    f"/{fleet.SERVICE}/ReportLoad": Role.REPORT,
    f"/{fleet.SERVICE}/Fleet": Role.ROUTE,
}


def role_of(path: str) -> Role:
    """The role that `/package.Service/Method` needs."""
    return ROLES.get(path, Role.OPERATE)
