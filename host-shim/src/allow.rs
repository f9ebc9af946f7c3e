//! What passes. The card decides what a host may do; this list only keeps everything that is not the
//! card's API, present or future, from being reached through the shim.

/// The services whose methods are forwarded.
pub const SERVICES: &[&str] = &[
    "nic.v1.BridgeService",
    "nic.v1.CapabilityService",
    "nic.v1.ConfigService",
    "nic.v1.FdbEntryService",
    "nic.v1.FlowRuleService",
    "nic.v1.FlowService",
    "nic.v1.LearnedService",
    "nic.v1.PortService",
    "nic.v1.StatsService",
    "nic.v1.StatusService",
    "nic.v1.SystemService",
    "nic.v1.TraceService",
    "nic.v1.TunnelPeerService",
    "nic.v1.VtepService",
    "nic.v1.WatchService",
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
];

/// Whether a request's path, `/package.Service/Method`, is forwarded.
pub fn allows(path: &str) -> bool {
    let Some((service, method)) = path.strip_prefix('/').and_then(|rest| rest.split_once('/')) else {
        return false;
    };
    let method_is_a_name =
        !method.is_empty() && method.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    method_is_a_name && SERVICES.contains(&service)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_of_listed_services_pass() {
        assert!(allows("/nic.v1.PortService/GetPort"));
        assert!(allows("/grpc.health.v1.Health/Watch"));
    }

    #[test]
    fn everything_else_is_kept_out() {
        for path in [
            "",
            "/",
            "*",
            "/nic.v1.PortService",
            "/nic.v1.PortService/",
            "nic.v1.PortService/GetPort",
            "//nic.v1.PortService/GetPort",
            "/nic.v1.PortService/GetPort/",
            "/nic.v1.PortService/../nic.datapath.v1.Datapath/Sync",
            "/nic.v1.portservice/GetPort",
            "/nic.v1.PortServiceX/GetPort",
            "/nic.datapath.v1.Datapath/Sync",
        ] {
            assert!(!allows(path), "{path:?}");
        }
    }
}
