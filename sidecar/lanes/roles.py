"""Which role a method needs. What stands in no table needs `operate`: a method that was forgotten here is shut."""

from sidecar.door.tokens import Role
from sidecar.lanes import fleet
from sidecar.lanes.lane import SERVICE

ROLES = {
    f"/{SERVICE}/Route": Role.ROUTE,
    f"/{SERVICE}/RouteBatch": Role.ROUTE,
    f"/{SERVICE}/RouteStream": Role.ROUTE,
    f"/{SERVICE}/Info": Role.ROUTE,
    f"/{SERVICE}/ReportOutcome": Role.REPORT,
    f"/{fleet.SERVICE}/ReportLoad": Role.REPORT,
    f"/{fleet.SERVICE}/Fleet": Role.ROUTE,
}


def role_of(path: str) -> Role:
    """The role that `/package.Service/Method` needs."""
    return ROLES.get(path, Role.OPERATE)
