//! SystemService.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use nic_proto::v1 as pb;
use nic_proto::v1::system_service_server::SystemService;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tonic::{Request, Response, Status, Streaming};

use crate::failure::Failure;
use crate::slots::{AgentView, Kind, SlotContent, SlotView, Slots, SlotsError, SlotsView};

/// Parts of a bundle that wait to be written; who sends more, waits.
const WAITING: usize = 4;
/// The most octets of one part.
const MAX_CHUNK: usize = 1 << 20;
/// A sender that says nothing for so long is given up.
const PAUSE: Duration = Duration::from_secs(30);

pub(crate) struct System(pub(crate) Arc<dyn Slots>);

impl System {
    /// Does something that blocks.
    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn Slots) -> Result<T, SlotsError> + Send + 'static,
    ) -> Result<T, Failure> {
        let slots = Arc::clone(&self.0);
        let done = spawn_blocking(move || work(slots.as_ref())).await;
        Ok(done.unwrap_or_else(|error| Err(SlotsError::Failed(error.to_string())))?)
    }

    async fn reboot_if(&self, wanted: bool) -> Result<(), Failure> {
        if wanted { self.with(|slots| slots.reboot()).await } else { Ok(()) }
    }

    /// What it takes for a change to have its effect.
    async fn take_effect(&self, kind: Kind, reboot: bool) -> Result<(), Failure> {
        match kind {
            Kind::Slot => self.reboot_if(reboot).await,
            Kind::Agent => {
                self.0.restart();
                Ok(())
            }
        }
    }
}

/// What comes from a client, for whoever reads and blocks.
struct Received {
    parts: mpsc::Receiver<io::Result<Bytes>>,
    part: Bytes,
}

impl Read for Received {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.part.is_empty() {
            match self.parts.blocking_recv() {
                Some(part) => self.part = part?,
                None => return Ok(0),
            }
        }
        let length = self.part.len().min(buffer.len());
        let (Some(to), from) = (buffer.get_mut(..length), self.part.split_to(length)) else { return Ok(0) };
        to.copy_from_slice(&from);
        Ok(length)
    }
}

/// Hands on what comes until it ends, or nobody reads any more.
async fn hand_on(mut stream: Streaming<pb::InstallRequest>, parts: mpsc::Sender<io::Result<Bytes>>) {
    loop {
        let part = match tokio::time::timeout(PAUSE, stream.message()).await {
            Ok(Ok(Some(request))) if request.chunk.len() <= MAX_CHUNK => Ok(Bytes::from(request.chunk)),
            Ok(Ok(Some(_))) => Err(io::Error::other(format!("a chunk has more than {MAX_CHUNK} octets"))),
            Ok(Ok(None)) => return,
            Ok(Err(status)) => Err(io::Error::other(status.message().to_owned())),
            Err(_) => {
                let text = format!("nothing came for {} s", PAUSE.as_secs());
                Err(io::Error::new(io::ErrorKind::TimedOut, text))
            }
        };
        let last = part.is_err();
        if parts.send(part).await.is_err() || last {
            return;
        }
    }
}

fn kind(kind: Kind) -> i32 {
    match kind {
        Kind::Slot => pb::BundleKind::WholeSlot.into(),
        Kind::Agent => pb::BundleKind::AgentAlone.into(),
    }
}

/// State, tries left, tries done.
const fn state(content: Option<SlotContent>) -> (pb::SlotState, u32, u32) {
    match content {
        None => (pb::SlotState::Unspecified, 0, 0),
        Some(SlotContent::Installed) => (pb::SlotState::Installed, 0, 0),
        Some(SlotContent::Trial { left, done }) => (pb::SlotState::Trial, left, done),
        Some(SlotContent::Blessed) => (pb::SlotState::Blessed, 0, 0),
        Some(SlotContent::GivenUp { done }) => (pb::SlotState::GivenUp, 0, done),
    }
}

fn agent(view: AgentView) -> pb::AgentVersion {
    let AgentView { version, own, running, content } = view;
    let (state, tries_left, tries_done) = state(Some(content));
    pb::AgentVersion { version, own, running, state: state.into(), tries_left, tries_done }
}

fn slot(view: SlotView, running: bool) -> pb::Slot {
    let (version, content) = view.content.map_or((String::new(), None), |(version, it)| (version, Some(it)));
    let (state, tries_left, tries_done) = state(content);
    pb::Slot { name: view.name, running, version, state: state.into(), tries_left, tries_done }
}

fn slots(view: SlotsView) -> pb::Slots {
    pb::Slots {
        board: view.board,
        slots: vec![slot(view.running, true), slot(view.other, false)],
        next_version: view.next.unwrap_or_default(),
        install: view.progress.map(|progress| pb::InstallProgress {
            version: progress.version,
            written: progress.written,
            total: progress.total,
        }),
        rollback_revision: view.restores.unwrap_or(0),
        agents: view.agents.into_iter().map(agent).collect(),
    }
}

/// Whether what runs is what was activated last.
fn verified(view: SlotsView) -> pb::VerifyResponse {
    let (version, content) = view.running.content.unwrap_or((String::new(), SlotContent::Installed));
    let activation_failure = match view.other.content {
        Some((other, SlotContent::GivenUp { done: done @ 1.. })) => {
            format!("version {other} did not prove itself in {done} boots")
        }
        _ => String::new(),
    };
    pb::VerifyResponse { version, blessed: content == SlotContent::Blessed, activation_failure }
}

#[tonic::async_trait]
impl SystemService for System {
    async fn install(
        &self,
        request: Request<Streaming<pb::InstallRequest>>,
    ) -> Result<Response<pb::InstallResponse>, Status> {
        let (sender, parts) = mpsc::channel(WAITING);
        let install = self.with(move |slots| slots.install(&mut Received { parts, part: Bytes::new() }));
        let mut install = std::pin::pin!(install);
        let installed = tokio::select! {
            // One that is refused does not wait for the rest.
            installed = &mut install => installed?,
            () = hand_on(request.into_inner(), sender) => install.await?,
        };
        Ok(Response::new(pb::InstallResponse {
            version: installed.version,
            bytes: installed.octets,
            kind: kind(installed.kind),
        }))
    }

    async fn activate(
        &self,
        request: Request<pb::ActivateRequest>,
    ) -> Result<Response<pb::ActivateResponse>, Status> {
        let pb::ActivateRequest { version, reboot } = request.into_inner();
        let activated = self.with(move |slots| slots.activate(&version)).await?;
        self.take_effect(activated, reboot).await?;
        Ok(Response::new(pb::ActivateResponse { kind: kind(activated) }))
    }

    async fn verify(
        &self,
        _request: Request<pb::VerifyRequest>,
    ) -> Result<Response<pb::VerifyResponse>, Status> {
        Ok(Response::new(verified(self.with(|slots| slots.view()).await?)))
    }

    async fn get_slots(&self, _request: Request<pb::GetSlotsRequest>) -> Result<Response<pb::Slots>, Status> {
        Ok(Response::new(slots(self.with(|slots| slots.view()).await?)))
    }

    async fn rollback(
        &self,
        request: Request<pb::RollbackRequest>,
    ) -> Result<Response<pb::RollbackResponse>, Status> {
        let pb::RollbackRequest { dry_run, reboot } = request.into_inner();
        let back = self.with(move |slots| slots.rollback(dry_run)).await?;
        if !dry_run {
            self.take_effect(back.kind, reboot).await?;
        }
        Ok(Response::new(pb::RollbackResponse {
            version: back.version,
            restores_configuration: back.restores.is_some(),
            restored_revision: back.restores.unwrap_or(0),
            revision: back.revision,
            kind: kind(back.kind),
        }))
    }

    async fn reboot(
        &self,
        _request: Request<pb::RebootRequest>,
    ) -> Result<Response<pb::RebootResponse>, Status> {
        self.reboot_if(true).await?;
        Ok(Response::new(pb::RebootResponse {}))
    }

    async fn factory_reset(
        &self,
        request: Request<pb::FactoryResetRequest>,
    ) -> Result<Response<pb::FactoryResetResponse>, Status> {
        self.with(|slots| slots.factory_reset()).await?;
        self.reboot_if(request.get_ref().reboot).await?;
        Ok(Response::new(pb::FactoryResetResponse {}))
    }
}
