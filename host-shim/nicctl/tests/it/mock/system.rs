//! The card's slots: what is sent to them, and what they say.

use super::*;

/// What was asked of the slots, in order; and what they are.
#[derive(Default)]
pub(crate) struct Software {
    pub(crate) asked: Vec<String>,
    pub(crate) received: Vec<u8>,
    /// Refuse a bundle after so many octets.
    pub(crate) refuse_at: Option<usize>,
    /// Looks at the slots until what runs has proven itself.
    pub(crate) looks: u32,
    /// What bundles are.
    pub(crate) kind: BundleKind,
}

fn slot(name: &str, running: bool, version: &str, state: SlotState, tries: (u32, u32)) -> Slot {
    Slot {
        name: name.into(),
        running,
        version: version.into(),
        state: state.into(),
        tries_left: tries.0,
        tries_done: tries.1,
    }
}

/// The image's own, and with bundles of that kind another.
fn agents(kind: BundleKind) -> Vec<AgentVersion> {
    let beside = AgentVersion {
        version: "1.3.1".into(),
        own: false,
        running: true,
        state: SlotState::Trial.into(),
        tries_left: 2,
        tries_done: 1,
    };
    let own = AgentVersion {
        version: "1.3.0".into(),
        own: true,
        running: false,
        state: SlotState::Blessed.into(),
        ..AgentVersion::default()
    };
    if kind == BundleKind::AgentAlone { vec![beside, own] } else { vec![own] }
}

#[tonic::async_trait]
impl system_service_server::SystemService for Api {
    async fn install(
        &self,
        request: Request<Streaming<InstallRequest>>,
    ) -> Result<Response<InstallResponse>, Status> {
        let mut stream = request.into_inner();
        while let Some(InstallRequest { chunk }) = stream.message().await? {
            assert!(!chunk.is_empty());
            let mut state = self.state();
            state.software.received.extend(chunk);
            if state.software.refuse_at.is_some_and(|most| state.software.received.len() >= most) {
                let metadata = [("board", "bluefield3")];
                return Err(error(
                    Code::InvalidArgument,
                    "for another board",
                    ErrorReason::BundleBoard,
                    &metadata,
                ));
            }
        }
        let bytes = self.state().software.received.len() as u64;
        let kind = self.state().software.kind;
        Ok(Response::new(InstallResponse { version: "1.3.0".into(), bytes, kind: kind.into() }))
    }

    async fn activate(
        &self,
        request: Request<ActivateRequest>,
    ) -> Result<Response<ActivateResponse>, Status> {
        let ActivateRequest { version, reboot } = request.into_inner();
        if version == "9.9.9" {
            return Err(error(Code::NotFound, "not installed", ErrorReason::VersionNotInstalled, &[]));
        }
        self.state().software.asked.push(format!("activate {version} {reboot}"));
        Ok(Response::new(ActivateResponse { kind: self.state().software.kind.into() }))
    }

    async fn verify(&self, _: Request<VerifyRequest>) -> Result<Response<VerifyResponse>, Status> {
        Err(Status::unimplemented("nicctl asks for the slots"))
    }

    async fn get_slots(&self, _: Request<GetSlotsRequest>) -> Result<Response<Slots>, Status> {
        let mut state = self.state();
        let running = match state.software.looks {
            0 => slot("root-b", true, "1.3.0", SlotState::Blessed, (0, 0)),
            _ => slot("root-b", true, "1.3.0", SlotState::Trial, (2, 1)),
        };
        state.software.looks = state.software.looks.saturating_sub(1);
        Ok(Response::new(Slots {
            board: "generic".into(),
            slots: vec![running, slot("root-a", false, "1.2.0", SlotState::GivenUp, (0, 3))],
            next_version: "1.3.0".into(),
            install: Some(InstallProgress { version: "1.4.0".into(), written: 1, total: 4 }),
            rollback_revision: 0,
            agents: agents(state.software.kind),
        }))
    }

    async fn rollback(
        &self,
        request: Request<RollbackRequest>,
    ) -> Result<Response<RollbackResponse>, Status> {
        let RollbackRequest { dry_run, reboot } = request.into_inner();
        self.state().software.asked.push(format!("rollback {dry_run} {reboot}"));
        Ok(Response::new(RollbackResponse {
            version: "1.2.0".into(),
            restores_configuration: true,
            restored_revision: 77,
            revision: 80,
            kind: self.state().software.kind.into(),
        }))
    }

    async fn reboot(&self, _: Request<RebootRequest>) -> Result<Response<RebootResponse>, Status> {
        self.state().software.asked.push("reboot".into());
        Ok(Response::new(RebootResponse {}))
    }

    async fn factory_reset(
        &self,
        request: Request<FactoryResetRequest>,
    ) -> Result<Response<FactoryResetResponse>, Status> {
        self.state().software.asked.push(format!("reset {}", request.get_ref().reboot));
        Ok(Response::new(FactoryResetResponse {}))
    }
}
