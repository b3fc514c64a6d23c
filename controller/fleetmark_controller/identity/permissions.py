"""The table of permissions. A method that is not in it is refused to every caller."""

from __future__ import annotations

from fleetmark_controller.identity.model import CallRule, Role

_DEVICE = CallRule(devices=True)
_VIEWER = CallRule(operators=Role.VIEWER)
_OPERATOR = CallRule(operators=Role.OPERATOR)
_ADMIN = CallRule(operators=Role.ADMIN)
_ANYONE = CallRule(anyone=True)

RULES: dict[str, CallRule] = {
    "/fleetmark.v1.Enrollment/Health": _ANYONE,
    "/fleetmark.v1.Enrollment/Enroll": _ANYONE,
    "/fleetmark.v1.Enrollment/Renew": _ANYONE,
    # Agents, each only for itself: the services compare device and attempt.
    "/fleetmark.v1.Session/Connect": _DEVICE,
    "/fleetmark.v1.Results/Append": _DEVICE,
    # Agents: blobs that their orders name. Operators: files of runs, and models that they import.
    "/fleetmark.v1.Blobs/Download": CallRule(devices=True, operators=Role.VIEWER),
    "/fleetmark.v1.Blobs/Upload": CallRule(devices=True, operators=Role.OPERATOR),
    "/fleetmark.v1.Results/ListRows": _VIEWER,
    "/fleetmark.v1.Results/GetRun": _VIEWER,
    "/fleetmark.v1.Fleet/ListDevices": _VIEWER,
    "/fleetmark.v1.Fleet/ShowDevice": _VIEWER,
    "/fleetmark.v1.Fleet/ListSelectors": _VIEWER,
    "/fleetmark.v1.Fleet/GetDescription": _VIEWER,
    "/fleetmark.v1.Fleet/SetDescription": _OPERATOR,
    "/fleetmark.v1.Fleet/Label": _OPERATOR,
    "/fleetmark.v1.Fleet/Drain": _OPERATOR,
    "/fleetmark.v1.Fleet/Resume": _OPERATOR,
    "/fleetmark.v1.Fleet/Reserve": _OPERATOR,
    "/fleetmark.v1.Fleet/Rename": _OPERATOR,
    "/fleetmark.v1.Fleet/SetSelector": _OPERATOR,
    "/fleetmark.v1.Fleet/DeleteSelector": _OPERATOR,
    "/fleetmark.v1.Fleet/Approve": _ADMIN,
    "/fleetmark.v1.Fleet/AddDevice": _ADMIN,
    "/fleetmark.v1.Fleet/Revoke": _ADMIN,
    "/fleetmark.v1.Fleet/Remove": _ADMIN,
    "/fleetmark.v1.Jobs/Submit": _OPERATOR,
    "/fleetmark.v1.Jobs/ListCampaigns": _VIEWER,
    "/fleetmark.v1.Jobs/ListJobs": _VIEWER,
    "/fleetmark.v1.Jobs/GetJob": _VIEWER,
    "/fleetmark.v1.Jobs/Watch": _VIEWER,
    "/fleetmark.v1.Jobs/StreamLogs": _VIEWER,
    "/fleetmark.v1.Jobs/Cancel": _OPERATOR,
    "/fleetmark.v1.Jobs/SetPaused": _OPERATOR,
    "/fleetmark.v1.Jobs/Retry": _OPERATOR,
    "/fleetmark.v1.Jobs/Replay": _OPERATOR,
    "/fleetmark.v1.Jobs/Crosscheck": _OPERATOR,
    "/fleetmark.v1.Jobs/ExportBundle": _OPERATOR,
    "/fleetmark.v1.Results/Import": _OPERATOR,
    "/fleetmark.v1.Results/ImportPower": _OPERATOR,
    "/fleetmark.v1.Results/ImportMeterLog": _OPERATOR,
    "/fleetmark.v1.Catalog/ListComponents": _VIEWER,
    "/fleetmark.v1.Catalog/GetComponent": _VIEWER,
    "/fleetmark.v1.Catalog/Resolve": _VIEWER,
    "/fleetmark.v1.Catalog/Fetch": _OPERATOR,
    "/fleetmark.v1.Catalog/CheckFiles": _OPERATOR,
    "/fleetmark.v1.Catalog/ImportModel": _OPERATOR,
    "/fleetmark.v1.Catalog/RemoveModel": _OPERATOR,
    "/fleetmark.v1.Catalog/GetTrust": _VIEWER,
    "/fleetmark.v1.Catalog/Pack": _VIEWER,
    # Components added here run on devices.
    "/fleetmark.v1.Catalog/AddCatalog": _ADMIN,
    "/fleetmark.v1.Catalog/ConfirmFiles": _ADMIN,
    "/fleetmark.v1.Catalog/ProposeRelease": _ADMIN,
    "/fleetmark.v1.Catalog/InstallRelease": _ADMIN,
    "/fleetmark.v1.Catalog/SignRelease": _ADMIN,
    "/fleetmark.v1.Admin/GetInfo": _VIEWER,
    "/fleetmark.v1.Admin/CreateToken": _ADMIN,
    "/fleetmark.v1.Admin/ListTokens": _ADMIN,
    "/fleetmark.v1.Admin/RevokeToken": _ADMIN,
    "/fleetmark.v1.Admin/CreateOperator": _ADMIN,
    "/fleetmark.v1.Admin/ListOperators": _ADMIN,
    "/fleetmark.v1.Admin/RevokeOperator": _ADMIN,
    "/fleetmark.v1.Admin/ListAudit": _ADMIN,
}
