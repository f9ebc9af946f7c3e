//! An API to talk to: resources in memory, fixed answers for the rest, errors on demand.

mod overlay;
mod system;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};

use nic_proto::v1::*;
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::runtime::{Builder, Runtime};
use tokio_stream::Stream;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_types::{BadRequest, ErrorDetails, FieldViolation, StatusExt};

/// What the API remembers.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) resources: BTreeMap<String, Resource>,
    pub(crate) revision: u64,
    /// The header of the last Apply.
    pub(crate) header: Option<ApplyHeader>,
    /// Stays behind `revision` by so much.
    pub(crate) lag: u64,
    /// Alarms that stand.
    pub(crate) alarms: Vec<Alarm>,
    /// What the status is, if not the usual.
    pub(crate) system: Option<SystemStatus>,
    /// The agent is one of before there were alarms.
    pub(crate) mute: bool,
    /// Packets that are dropped from one question to the next.
    pub(crate) dropping: u64,
    pub(crate) dropped: u64,
    /// The last Trace.
    pub(crate) trace: Option<TraceRequest>,
    /// What all calls were called, in their order.
    pub(crate) calls: Vec<String>,
    /// The card's slots.
    pub(crate) software: system::Software,
    /// How often the counters were read: they grow with each reading, if this counts.
    pub(crate) readings: Option<u64>,
}

#[derive(Clone, Default)]
struct Api(Arc<Mutex<State>>);

/// An API that serves on a unix socket until it is dropped.
pub(crate) struct Mock {
    api: Api,
    directory: TempDir,
    _runtime: Runtime,
}

impl Mock {
    pub(crate) fn start() -> Mock {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let api = Api::default();
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let heard = api.clone();
        let hear = tonic::service::InterceptorLayer::new(move |request: Request<()>| {
            let id = request.metadata().get("x-request-id").and_then(|id| id.to_str().ok());
            heard.state().calls.push(id.unwrap_or_default().to_owned());
            Ok(request)
        });
        let server = Server::builder()
            .layer(hear)
            .add_service(config_service_server::ConfigServiceServer::new(api.clone()))
            .add_service(port_service_server::PortServiceServer::new(api.clone()))
            .add_service(flow_rule_service_server::FlowRuleServiceServer::new(api.clone()))
            .add_service(flow_service_server::FlowServiceServer::new(api.clone()))
            .add_service(trace_service_server::TraceServiceServer::new(api.clone()))
            .add_service(status_service_server::StatusServiceServer::new(api.clone()))
            .add_service(stats_service_server::StatsServiceServer::new(api.clone()))
            .add_service(capability_service_server::CapabilityServiceServer::new(api.clone()))
            .add_service(bridge_service_server::BridgeServiceServer::new(api.clone()))
            .add_service(vtep_service_server::VtepServiceServer::new(api.clone()))
            .add_service(tunnel_peer_service_server::TunnelPeerServiceServer::new(api.clone()))
            .add_service(fdb_entry_service_server::FdbEntryServiceServer::new(api.clone()))
            .add_service(learned_service_server::LearnedServiceServer::new(api.clone()))
            .add_service(system_service_server::SystemServiceServer::new(api.clone()))
            .add_service(watch_service_server::WatchServiceServer::new(api.clone()));
        let entered = runtime.enter();
        let listener = UnixListener::bind(directory.path().join("api.sock")).expect("a socket");
        drop(entered);
        runtime.spawn(server.serve_with_incoming(UnixListenerStream::new(listener)));
        Mock { api, directory, _runtime: runtime }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.api.state()
    }

    pub(crate) fn server(&self) -> String {
        format!("unix:{}", self.directory.path().join("api.sock").display())
    }

    /// Writes a file beside the socket.
    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path: &Path = self.directory.path();
        let path = path.join(name);
        std::fs::write(&path, text).expect("a file");
        path
    }
}

fn error(code: Code, message: &str, reason: ErrorReason, metadata: &[(&str, &str)]) -> Status {
    let metadata: HashMap<String, String> =
        metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Status::with_error_details(
        code,
        message,
        ErrorDetails::with_error_info(reason.as_str_name(), "nic.v1", metadata),
    )
}

fn name_of(resource: &Resource) -> String {
    match &resource.kind {
        Some(resource::Kind::Port(port)) => port.name.clone(),
        Some(resource::Kind::FlowRule(rule)) => rule.name.clone(),
        Some(resource::Kind::Bridge(bridge)) => bridge.name.clone(),
        Some(resource::Kind::Vtep(vtep)) => vtep.name.clone(),
        Some(resource::Kind::TunnelPeer(peer)) => peer.name.clone(),
        Some(resource::Kind::FdbEntry(entry)) => entry.name.clone(),
        None => String::new(),
    }
}

impl Api {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no test panicked in the API")
    }

    /// The resource of that name, or the error that the name asks for.
    fn find(&self, name: &str) -> Result<Resource, Status> {
        match name {
            "ports/locked" => return Err(Status::permission_denied("not for you")),
            "ports/broken" => return Err(Status::internal("out of order")),
            "ports/away" => return Err(Status::unavailable("no card")),
            "ports/renamed" => {
                let details = ErrorDetails::with_request_info("the-cards", "");
                return Err(Status::with_error_details(Code::NotFound, "renamed", details));
            }
            "ports/unfinished" => return Err(Status::unimplemented("not yet")),
            _ => {}
        }
        self.state().resources.get(name).cloned().ok_or_else(|| {
            error(Code::NotFound, "no such resource", ErrorReason::ResourceNotFound, &[("resource", name)])
        })
    }

    fn remove(&self, name: &str, etag: &str) -> Result<u64, Status> {
        self.find(name)?;
        if etag == "old" {
            let metadata = [("resource", name)];
            return Err(error(Code::Aborted, "changed since", ErrorReason::EtagMismatch, &metadata));
        }
        let mut state = self.state();
        if state.resources.values().any(|resource| refers(resource, name)) {
            let metadata = [("resource", name), ("referrer", "flowRules/a")];
            return Err(error(
                Code::FailedPrecondition,
                "in use",
                ErrorReason::ResourceReferenced,
                &metadata,
            ));
        }
        state.resources.remove(name);
        state.revision += 1;
        Ok(state.revision)
    }

    fn change(&self, header: &ApplyHeader, resources: &[Resource]) -> ApplyResponse {
        let mut state = self.state();
        let mut changes = Vec::new();
        for resource in resources {
            let name = name_of(resource);
            let (action, diff) = match state.resources.get(&name) {
                None => (change::Action::Create, Vec::new()),
                Some(before) if before == resource => (change::Action::Unchanged, Vec::new()),
                Some(_) => {
                    let (path, before, after) = ("spec.flow".into(), "\"a\"".into(), "\"b\"".into());
                    (change::Action::Update, vec![FieldChange { path, before, after }])
                }
            };
            changes.push(Change { name, action: action.into(), diff });
        }
        if header.prune {
            let kept: Vec<String> = resources.iter().map(name_of).collect();
            let gone = state.resources.keys().filter(|name| !kept.contains(name)).cloned();
            let delete = |name| Change { name, action: change::Action::Delete.into(), diff: Vec::new() };
            changes.extend(gone.map(delete).collect::<Vec<_>>());
        }
        if !header.dry_run {
            for change in &changes {
                state.resources.remove(&change.name);
            }
            state.resources.extend(resources.iter().map(|resource| (name_of(resource), resource.clone())));
            state.revision += 1;
        }
        ApplyResponse { revision: state.revision, changes, dry_run: header.dry_run }
    }
}

fn refers(resource: &Resource, port: &str) -> bool {
    let id = port.trim_start_matches("ports/");
    match &resource.kind {
        Some(resource::Kind::FlowRule(rule)) => {
            rule.spec.as_ref().is_some_and(|spec| spec.flow.contains(&format!("in_port={id},")))
        }
        _ => false,
    }
}

#[tonic::async_trait]
impl config_service_server::ConfigService for Api {
    async fn apply(
        &self,
        request: Request<Streaming<ApplyRequest>>,
    ) -> Result<Response<ApplyResponse>, Status> {
        let mut stream = request.into_inner();
        let mut header = None;
        let mut resources = Vec::new();
        let mut committed = false;
        while let Some(message) = stream.message().await? {
            match message.message {
                Some(apply_request::Message::Header(first)) => header = Some(first),
                Some(apply_request::Message::Resource(resource)) => resources.push(resource),
                Some(apply_request::Message::Commit(_)) => committed = true,
                None => {}
            }
        }
        let header = header.ok_or_else(|| Status::invalid_argument("no header"))?;
        assert!(committed, "nicctl always commits");
        self.state().header = Some(header.clone());
        if header.apply_set == "taken" {
            let name = name_of(&resources[0]);
            let metadata = [("resource", name.as_str()), ("apply_set", "other")];
            return Err(error(Code::Aborted, "of another set", ErrorReason::ApplySetConflict, &metadata));
        }
        let mut violations = Vec::new();
        for (index, resource) in resources.iter().enumerate() {
            if let Some(resource::Kind::FlowRule(rule)) = &resource.kind
                && rule.spec.as_ref().is_some_and(|spec| spec.flow.contains("nw_scr"))
            {
                let field = format!("resources[{index}].spec.flow");
                let mut violation = FieldViolation::new(field, "there is no field nw_scr");
                violation.reason = ErrorReason::FlowUnsupported.as_str_name().into();
                violations.push(violation);
            }
        }
        if !violations.is_empty() {
            let mut details = ErrorDetails::new();
            details.set_bad_request(BadRequest::new(violations).field_violations);
            details.set_error_info(ErrorReason::FlowUnsupported.as_str_name(), "nic.v1", HashMap::new());
            return Err(Status::with_error_details(Code::InvalidArgument, "invalid configuration", details));
        }
        Ok(Response::new(self.change(&header, &resources)))
    }
}

#[tonic::async_trait]
impl port_service_server::PortService for Api {
    async fn create_port(
        &self,
        _: Request<CreatePortRequest>,
    ) -> Result<Response<CreatePortResponse>, Status> {
        Err(Status::unimplemented("nicctl applies"))
    }

    async fn get_port(&self, request: Request<GetPortRequest>) -> Result<Response<Port>, Status> {
        match self.find(&request.get_ref().name)?.kind {
            Some(resource::Kind::Port(port)) => Ok(Response::new(port)),
            _ => Err(Status::internal("not a port")),
        }
    }

    /// One port a page.
    async fn list_ports(
        &self,
        request: Request<ListPortsRequest>,
    ) -> Result<Response<ListPortsResponse>, Status> {
        let state = self.state();
        let ports: Vec<Port> = state
            .resources
            .values()
            .filter_map(|resource| match &resource.kind {
                Some(resource::Kind::Port(port)) => Some(port.clone()),
                _ => None,
            })
            .collect();
        let index: usize = request.get_ref().page_token.parse().unwrap_or_default();
        let next = if index + 1 < ports.len() { (index + 1).to_string() } else { String::new() };
        Ok(Response::new(ListPortsResponse {
            ports: ports.into_iter().skip(index).take(1).collect(),
            next_page_token: next,
            revision: state.revision,
        }))
    }

    async fn update_port(
        &self,
        _: Request<UpdatePortRequest>,
    ) -> Result<Response<UpdatePortResponse>, Status> {
        Err(Status::unimplemented("nicctl applies"))
    }

    async fn delete_port(
        &self,
        request: Request<DeletePortRequest>,
    ) -> Result<Response<DeletePortResponse>, Status> {
        let DeletePortRequest { name, etag, .. } = request.into_inner();
        Ok(Response::new(DeletePortResponse { revision: self.remove(&name, &etag)? }))
    }
}

#[tonic::async_trait]
impl flow_rule_service_server::FlowRuleService for Api {
    async fn create_flow_rule(
        &self,
        _: Request<CreateFlowRuleRequest>,
    ) -> Result<Response<CreateFlowRuleResponse>, Status> {
        Err(Status::unimplemented("nicctl applies"))
    }

    async fn get_flow_rule(
        &self,
        request: Request<GetFlowRuleRequest>,
    ) -> Result<Response<FlowRule>, Status> {
        match self.find(&request.get_ref().name)?.kind {
            Some(resource::Kind::FlowRule(rule)) => Ok(Response::new(rule)),
            _ => Err(Status::internal("not a flow rule")),
        }
    }

    async fn list_flow_rules(
        &self,
        _: Request<ListFlowRulesRequest>,
    ) -> Result<Response<ListFlowRulesResponse>, Status> {
        let state = self.state();
        let condition = |kind: &str, status: condition::Status, reason: &str, message: &str| Condition {
            r#type: kind.into(),
            status: status.into(),
            reason: reason.into(),
            message: message.into(),
            ..Condition::default()
        };
        let flow_rules = state.resources.values().filter_map(|resource| match &resource.kind {
            Some(resource::Kind::FlowRule(rule)) => Some(FlowRule {
                status: Some(FlowRuleStatus {
                    conditions: vec![
                        condition("Programmed", condition::Status::True, "Applied", ""),
                        condition(
                            "Offloaded",
                            condition::Status::False,
                            "CardFull",
                            "the card's rule table is full",
                        ),
                    ],
                    ..FlowRuleStatus::default()
                }),
                ..rule.clone()
            }),
            _ => None,
        });
        let flow_rules = flow_rules.collect();
        Ok(Response::new(ListFlowRulesResponse { flow_rules, ..ListFlowRulesResponse::default() }))
    }

    async fn update_flow_rule(
        &self,
        _: Request<UpdateFlowRuleRequest>,
    ) -> Result<Response<UpdateFlowRuleResponse>, Status> {
        Err(Status::unimplemented("nicctl applies"))
    }

    async fn delete_flow_rule(
        &self,
        request: Request<DeleteFlowRuleRequest>,
    ) -> Result<Response<DeleteFlowRuleResponse>, Status> {
        let DeleteFlowRuleRequest { name, etag, .. } = request.into_inner();
        Ok(Response::new(DeleteFlowRuleResponse { revision: self.remove(&name, &etag)? }))
    }
}

#[tonic::async_trait]
impl flow_service_server::FlowService for Api {
    type ListFlowsStream = Pin<Box<dyn Stream<Item = Result<ListFlowsResponse, Status>> + Send>>;

    async fn list_flows(
        &self,
        request: Request<ListFlowsRequest>,
    ) -> Result<Response<Self::ListFlowsStream>, Status> {
        let ListFlowsRequest { in_port, tier } = request.into_inner();
        let flow = |port: &str, tier: FlowTier, packets| Flow {
            in_port: port.into(),
            r#match: format!("in_port={port},eth_type=0x0800"),
            actions: "output:pf0vf0".into(),
            tier: tier.into(),
            packets,
            bytes: packets * 100,
            age: Some(std::time::Duration::from_secs(75).into()),
            software_reason: if tier == FlowTier::Software { "many_outputs".into() } else { String::new() },
            ..Flow::default()
        };
        let flows =
            [flow("ports/pf0", FlowTier::Software, 3), flow("ports/vm1", FlowTier::Hardware, 1_000_000)];
        let wanted = flows.into_iter().filter(move |flow| {
            (in_port.is_empty() || flow.in_port == in_port) && (tier == 0 || flow.tier == tier)
        });
        let answers = wanted.map(|flow| Ok(ListFlowsResponse { flows: vec![flow] }));
        Ok(Response::new(Box::pin(tokio_stream::iter(answers.collect::<Vec<_>>()))))
    }

    async fn audit_flows(
        &self,
        request: Request<AuditFlowsRequest>,
    ) -> Result<Response<AuditFlowsResponse>, Status> {
        let repair = request.get_ref().repair;
        let stray = || "stray".to_owned();
        Ok(Response::new(AuditFlowsResponse {
            flows: 5,
            rules: 6,
            counts: vec![AuditCount {
                discrepancy: stray(),
                description: "nobody owns it".into(),
                found: 1,
                repaired: repair.into(),
            }],
            findings: vec![AuditFinding { discrepancy: stray(), r#match: String::new(), repaired: repair }],
            remaining: u64::from(!repair),
            lost_rule_hits: 16,
            rules_reinstalled: 1,
            last_reinstalled: None,
        }))
    }

    async fn flush_flows(
        &self,
        request: Request<FlushFlowsRequest>,
    ) -> Result<Response<FlushFlowsResponse>, Status> {
        let flushed = if request.get_ref().in_port.is_empty() { 2 } else { 1 };
        Ok(Response::new(FlushFlowsResponse { flushed }))
    }
}

#[tonic::async_trait]
impl trace_service_server::TraceService for Api {
    async fn trace(&self, request: Request<TraceRequest>) -> Result<Response<TraceResponse>, Status> {
        self.state().trace = Some(request.into_inner());
        let step = |stage: &str, resource: &str, read: &str, drop_reason: &str| TraceStep {
            stage: stage.into(),
            resources: vec![resource.into()],
            read: read.into(),
            drop_reason: drop_reason.into(),
        };
        Ok(Response::new(TraceResponse {
            revision: 7,
            key: "in_port=p0,eth_type=0x0800".into(),
            steps: vec![
                step("ingress", "ports/pf0", "in_port", ""),
                step("flow_rules", "flowRules/a", "eth_type,ip_src/24", "flow_rules.drop"),
            ],
            verdict: trace_response::Verdict::Drop.into(),
            drop_reason: "flow_rules.drop".into(),
            mask: "in_port,eth_type,ip_src/24".into(),
            megaflow: "in_port=p0,eth_type=0x0800,ip_src=10.10.1.0/24".into(),
            shape: "l3-source-24".into(),
            tier: FlowTier::Hardware.into(),
            ..TraceResponse::default()
        }))
    }
}

#[tonic::async_trait]
impl status_service_server::StatusService for Api {
    async fn get_status(&self, _: Request<GetStatusRequest>) -> Result<Response<SystemStatus>, Status> {
        let state = self.state();
        if let Some(status) = &state.system {
            return Ok(Response::new(status.clone()));
        }
        Ok(Response::new(SystemStatus {
            version: "0.1.0".into(),
            store_uuid: "u".into(),
            revision: state.revision,
            applied_revision: state.revision.saturating_sub(state.lag),
            datapath: Some(DatapathStatus {
                connected: true,
                version: "0.1.0".into(),
                schema_version: 3,
                policy_revision: state.revision,
                ..DatapathStatus::default()
            }),
            devices: vec![DeviceStatus {
                device: "p0".into(),
                present: true,
                port: "ports/pf0".into(),
                link_up: true,
            }],
            start_time: None,
            healthy: !state.mute
                && state.alarms.iter().all(|alarm| alarm.severity() == alarm::Severity::Info),
            alarms: state.alarms.clone(),
        }))
    }
}

/// The counters at a reading; two seconds pass between two.
fn growing(readings: u64) -> Stats {
    let first = PortStats {
        device: "p0".into(),
        port: "ports/pf0".into(),
        rx_packets: 200 * readings,
        upcalls: 200 * readings,
        hardware_packets: 20_000 * readings,
        hardware_bytes: 2_000_000 * readings,
        busy_nanoseconds: 500_000_000 * readings,
        flows: 4,
        rules: 3,
        ..PortStats::default()
    };
    let second = PortStats {
        device: "pf0vf1".into(),
        rx_packets: 2_000 * readings,
        upcalls: 1_000 * readings,
        busy_nanoseconds: 1_000_000_000 * readings,
        flows: 40,
        rules: 9,
        evicted: 3 * readings,
        rules_evicted: 2 * readings,
        drops: vec![
            DropCount { reason: "flood.budget".into(), packets: 1_000 },
            DropCount { reason: "rule.drop".into(), packets: 10 * readings },
        ],
        ..PortStats::default()
    };
    let time = pbjson_types::Timestamp { seconds: 1_000_000 + 2 * readings.cast_signed(), nanos: 0 };
    Stats { time: Some(time), ports: vec![first, second], ..Stats::default() }
}

#[tonic::async_trait]
impl stats_service_server::StatsService for Api {
    async fn get_stats(&self, _: Request<GetStatsRequest>) -> Result<Response<Stats>, Status> {
        let mut state = self.state();
        if let Some(readings) = &mut state.readings {
            *readings += 1;
            return Ok(Response::new(growing(*readings)));
        }
        let drops = vec![DropCount { reason: "flow_rules.no_match".into(), packets: 2 + state.dropped }];
        state.dropped += state.dropping;
        drop(state);
        Ok(Response::new(Stats {
            ports: vec![PortStats {
                device: "p0".into(),
                port: "ports/pf0".into(),
                present: true,
                rx_packets: 10,
                hardware_packets: 99_990,
                flows: 4,
                rules: 3,
                evicted: 2,
                rules_evicted: 3,
                busy_nanoseconds: 59_500_000_000,
                drops: drops.clone(),
                ..PortStats::default()
            }],
            slow_path: Some(SlowPathStats { packets: 10, upcalls: 4, ..SlowPathStats::default() }),
            offload: Some(OffloadStats {
                flows: 3,
                packets: 99_990,
                rules_created: 3,
                lost_rule_hits: 20,
                rules_reinstalled: 1,
                rules_stuck: 2,
                ..OffloadStats::default()
            }),
            cache: Some(CacheStats { flows: 4, full: 0 }),
            stages: vec![StageStats { stage: "ingress".into(), passed: 4, ..StageStats::default() }],
            drops,
            ..Stats::default()
        }))
    }
}

#[tonic::async_trait]
impl capability_service_server::CapabilityService for Api {
    async fn get_capabilities(
        &self,
        _: Request<GetCapabilitiesRequest>,
    ) -> Result<Response<Capabilities>, Status> {
        let row = |action: &str, reason: &str| Capability {
            shape: "5-tuple".into(),
            action: action.into(),
            ip_version: 4,
            supported: reason.is_empty(),
            reason: reason.into(),
        };
        Ok(Response::new(Capabilities {
            driver: "net_eswitch".into(),
            dpdk_version: "DPDK 22.11.11".into(),
            rows: vec![row("output", ""), row("dec_ip_ttl", "the card cannot do dec_ip_ttl there")],
        }))
    }
}
