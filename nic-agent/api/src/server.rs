//! All services together, and a door to them.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use nic_proto::v1::bridge_service_server::BridgeServiceServer;
use nic_proto::v1::capability_service_server::CapabilityServiceServer;
use nic_proto::v1::config_service_server::ConfigServiceServer;
use nic_proto::v1::fdb_entry_service_server::FdbEntryServiceServer;
use nic_proto::v1::flow_rule_service_server::FlowRuleServiceServer;
use nic_proto::v1::flow_service_server::FlowServiceServer;
use nic_proto::v1::learned_service_server::LearnedServiceServer;
use nic_proto::v1::port_service_server::PortServiceServer;
use nic_proto::v1::stats_service_server::StatsServiceServer;
use nic_proto::v1::status_service_server::StatusServiceServer;
use nic_proto::v1::system_service_server::SystemServiceServer;
use nic_proto::v1::trace_service_server::TraceServiceServer;
use nic_proto::v1::tunnel_peer_service_server::TunnelPeerServiceServer;
use nic_proto::v1::vtep_service_server::VtepServiceServer;
use nic_proto::v1::watch_service_server::WatchServiceServer;
use prost::Message;
use prost_types::{FileDescriptorSet, MethodDescriptorProto};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_stream::Stream;
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::Connected;
use tonic_health::ServingStatus;

use crate::auth::Gate;
use crate::core::Core;
use crate::health::Health;
use crate::seam::{Configuration, Datapath};
use crate::services::{
    Bridges, Capabilities, Config, FdbEntries, FlowRules, Flows, Learned, Ports, Statistics, System,
    SystemState, Traces, TunnelPeers, Vteps, Watches,
};
use crate::slots::Slots;

/// Calls that one connection may have open; one more waits.
const MAX_STREAMS: u32 = 256;
/// A connection without a sign of life is asked for one after this time.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Why the services are not served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The reflection service does not understand the description of nic.v1.
    #[error("reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The transport failed.
    #[error("the transport failed: {0}")]
    Transport(#[from] tonic::transport::Error),
}

/// All services, with gRPC's health and reflection. `health` looks at the same configuration and datapath;
/// `version` is nic-agent's, `started` when it did.
///
/// # Errors
/// The description of nic.v1 is broken.
pub async fn routes(
    configuration: Arc<dyn Configuration>,
    datapath: Arc<dyn Datapath>,
    health: Arc<Health>,
    slots: Arc<dyn Slots>,
    version: String,
    started: SystemTime,
) -> Result<Routes, ServeError> {
    let core = Arc::new(Core { configuration, datapath, health, version, started });
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(nic_proto::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()?;
    let (reporter, probes) = tonic_health::server::health_reporter();
    for name in [
        PortServiceServer::<Ports>::NAME,
        FlowRuleServiceServer::<FlowRules>::NAME,
        BridgeServiceServer::<Bridges>::NAME,
        VtepServiceServer::<Vteps>::NAME,
        TunnelPeerServiceServer::<TunnelPeers>::NAME,
        FdbEntryServiceServer::<FdbEntries>::NAME,
        ConfigServiceServer::<Config>::NAME,
        WatchServiceServer::<Watches>::NAME,
        TraceServiceServer::<Traces>::NAME,
        FlowServiceServer::<Flows>::NAME,
        LearnedServiceServer::<Learned>::NAME,
        CapabilityServiceServer::<Capabilities>::NAME,
        StatsServiceServer::<Statistics>::NAME,
        StatusServiceServer::<SystemState>::NAME,
        SystemServiceServer::<System>::NAME,
    ] {
        reporter.set_service_status(name, ServingStatus::Serving).await;
    }
    Ok(Routes::new(probes)
        .add_service(reflection)
        .add_service(PortServiceServer::new(Ports(Arc::clone(&core))))
        .add_service(FlowRuleServiceServer::new(FlowRules(Arc::clone(&core))))
        .add_service(BridgeServiceServer::new(Bridges(Arc::clone(&core))))
        .add_service(VtepServiceServer::new(Vteps(Arc::clone(&core))))
        .add_service(TunnelPeerServiceServer::new(TunnelPeers(Arc::clone(&core))))
        .add_service(FdbEntryServiceServer::new(FdbEntries(Arc::clone(&core))))
        .add_service(ConfigServiceServer::new(Config(Arc::clone(&core))))
        .add_service(WatchServiceServer::new(Watches(Arc::clone(&core))))
        .add_service(TraceServiceServer::new(Traces(Arc::clone(&core))))
        .add_service(FlowServiceServer::new(Flows(Arc::clone(&core))))
        .add_service(LearnedServiceServer::new(Learned(Arc::clone(&core))))
        .add_service(CapabilityServiceServer::new(Capabilities(Arc::clone(&core))))
        .add_service(StatsServiceServer::new(Statistics(Arc::clone(&core))))
        .add_service(StatusServiceServer::new(SystemState(core)))
        .add_service(SystemServiceServer::new(System(slots))))
}

/// A method that is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Method {
    /// Its path, as `/nic.v1.PortService/GetPort`.
    pub path: String,
    /// Whether its answer is a stream.
    pub streams: bool,
}

/// Every method that is served, health and reflection included.
///
/// # Errors
/// The description of nic.v1 is broken.
pub fn methods() -> Result<Vec<Method>, prost::DecodeError> {
    let mut methods = Vec::new();
    for described in [
        nic_proto::FILE_DESCRIPTOR_SET,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
    ] {
        for file in FileDescriptorSet::decode(described)?.file {
            // What nic-datapath serves has a door of its own.
            if file.package().starts_with("nic.") && file.package() != "nic.v1" {
                continue;
            }
            for service in &file.service {
                let described = |method: &MethodDescriptorProto| Method {
                    path: format!("/{}.{}/{}", file.package(), service.name(), method.name()),
                    streams: method.server_streaming(),
                };
                methods.extend(service.method.iter().map(described));
            }
        }
    }
    Ok(methods)
}

/// Serves at one door until `shutdown` is ready and the calls under way are done. Whoever comes through
/// this door has the role of its gate.
///
/// # Errors
/// The transport failed.
pub async fn serve<I, IO, E>(
    routes: Routes,
    gate: impl Into<Gate>,
    incoming: I,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError>
where
    I: Stream<Item = Result<IO, E>>,
    IO: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
    IO::ConnectInfo: Clone + Send + Sync + 'static,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    Server::builder()
        .max_concurrent_streams(MAX_STREAMS)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .layer(gate.into())
        .add_routes(routes)
        .serve_with_incoming_shutdown(incoming, shutdown)
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_methods_are_those_that_are_served_at_this_door() {
        let methods = methods().expect("a description");
        for (path, streams) in [
            ("/nic.v1.PortService/GetPort", false),
            ("/nic.v1.ConfigService/Apply", false),
            ("/nic.v1.WatchService/Watch", true),
            ("/grpc.health.v1.Health/Check", false),
        ] {
            let wanted = Method { path: path.to_owned(), streams };
            assert!(methods.contains(&wanted), "{wanted:?}");
        }
        assert!(methods.iter().all(|method| !method.path.contains("datapath")), "{methods:?}");
    }
}
