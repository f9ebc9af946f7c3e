//! SystemService over slots that say what the test tells them to.

use std::io::Read;
use std::sync::{Arc, Mutex};

use nic_api::slots::{
    AgentView, InstalledView, Kind, ProgressView, RollbackView, SlotContent, SlotView, Slots, SlotsError,
    SlotsView,
};
use nic_api::{NoSlots, Role};
use nic_proto::v1 as pb;
use nic_proto::v1::system_service_client::SystemServiceClient;
use tokio_stream::StreamExt;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::lab::Lab;

/// Slots that remember what was asked.
#[derive(Default)]
struct Told {
    received: Mutex<Vec<u8>>,
    asked: Mutex<Vec<String>>,
    /// The install fails after so many octets.
    refuse: Option<(usize, SlotsError)>,
}

impl Told {
    fn note(&self, what: impl Into<String>) {
        self.asked.lock().expect("not poisoned").push(what.into());
    }
}

impl Slots for Told {
    fn view(&self) -> Result<SlotsView, SlotsError> {
        let slot = |name: &str, version: &str, content| SlotView {
            name: name.to_owned(),
            content: Some((version.to_owned(), content)),
        };
        Ok(SlotsView {
            board: "generic".to_owned(),
            running: slot("root-a", "1.2.0", SlotContent::Blessed),
            other: slot("root-b", "1.3.0", SlotContent::GivenUp { done: 3 }),
            next: Some("1.2.0".to_owned()),
            progress: Some(ProgressView { version: "1.4.0".to_owned(), written: 5, total: 9 }),
            restores: Some(77),
            agents: vec![AgentView {
                version: "1.2.1".to_owned(),
                own: false,
                running: true,
                content: SlotContent::Trial { left: 2, done: 1 },
            }],
        })
    }

    fn install(&self, source: &mut dyn Read) -> Result<InstalledView, SlotsError> {
        let mut received = self.received.lock().expect("not poisoned");
        if let Some((most, error)) = &self.refuse {
            let mut some = vec![0; *most];
            let read = source.read_exact(&mut some);
            return Err(read.map_or_else(|io| SlotsError::Failed(io.to_string()), |()| error.clone()));
        }
        let read = source.read_to_end(&mut received);
        read.map_err(|error| SlotsError::Malformed(error.to_string()))?;
        Ok(InstalledView { kind: Kind::Agent, version: "1.4.0".to_owned(), octets: received.len() as u64 })
    }

    fn activate(&self, version: &str) -> Result<Kind, SlotsError> {
        self.note(format!("activate {version}"));
        match version {
            "1.4.0" => Ok(Kind::Slot),
            "1.2.1" => Ok(Kind::Agent),
            _ => Err(SlotsError::NotInstalled("it is not there".to_owned())),
        }
    }

    fn restart(&self) {
        self.note("restart");
    }

    fn rollback(&self, dry_run: bool) -> Result<RollbackView, SlotsError> {
        self.note(format!("rollback {dry_run}"));
        Ok(RollbackView { kind: Kind::Slot, version: "1.1.0".to_owned(), restores: Some(77), revision: 80 })
    }

    fn factory_reset(&self) -> Result<(), SlotsError> {
        self.note("reset");
        Ok(())
    }

    fn reboot(&self) -> Result<(), SlotsError> {
        self.note("reboot");
        Ok(())
    }
}

fn client(lab: &Lab) -> SystemServiceClient<Channel> {
    SystemServiceClient::new(lab.channel.clone())
}

async fn install(lab: &Lab, parts: Vec<Vec<u8>>) -> Result<pb::InstallResponse, Status> {
    let parts = parts.into_iter().map(|chunk| pb::InstallRequest { chunk });
    client(lab).install(tokio_stream::iter(parts)).await.map(tonic::Response::into_inner)
}

fn reason(status: &Status) -> String {
    status.get_error_details().error_info().map(|info| info.reason.clone()).unwrap_or_default()
}

#[tokio::test]
async fn a_card_without_slots_says_so_to_every_call() {
    let lab = Lab::new().await;
    let mut client = client(&lab);
    let answers = [
        client.get_slots(pb::GetSlotsRequest {}).await.map(drop),
        client.verify(pb::VerifyRequest {}).await.map(drop),
        client.activate(pb::ActivateRequest { version: "1.0.0".to_owned(), reboot: false }).await.map(drop),
        client.rollback(pb::RollbackRequest::default()).await.map(drop),
        client.reboot(pb::RebootRequest {}).await.map(drop),
        client.factory_reset(pb::FactoryResetRequest::default()).await.map(drop),
        install(&lab, vec![vec![1; 100]]).await.map(drop),
    ];
    for answer in answers {
        let status = answer.expect_err("no slots");
        assert_eq!((status.code(), reason(&status).as_str()), (Code::FailedPrecondition, "SLOTS_ABSENT"));
        assert_eq!(status.message(), "this card has no slots: the test says so");
    }
    assert!(NoSlots(String::new()).view().is_err());
}

#[tokio::test]
async fn what_is_sent_is_what_is_installed() {
    let told = Arc::new(Told::default());
    let lab = Lab::with_slots(Role::Owner, Arc::clone(&told) as Arc<dyn Slots>).await;
    let parts: Vec<Vec<u8>> = (0..40_u8).map(|part| vec![part; 10_000 + usize::from(part)]).collect();
    let all = parts.concat();
    let installed = install(&lab, parts).await.expect("installed");
    assert_eq!((installed.version.as_str(), installed.bytes), ("1.4.0", all.len() as u64));
    assert_eq!(installed.kind(), pb::BundleKind::AgentAlone);
    assert!(*told.received.lock().expect("not poisoned") == all);
}

#[tokio::test]
async fn a_refusal_does_not_wait_for_the_rest_of_the_bundle() {
    let error = SlotsError::Board { board: "bluefield3".to_owned(), text: "for another board".to_owned() };
    let told = Arc::new(Told { refuse: Some((1000, error)), ..Told::default() });
    let lab = Lab::with_slots(Role::Owner, told).await;
    // One that would never end.
    let parts = tokio_stream::iter(std::iter::once(pb::InstallRequest { chunk: vec![7; 4096] }));
    let answer = client(&lab).install(parts.chain(tokio_stream::pending())).await;
    let status = answer.expect_err("refused");
    assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "BUNDLE_BOARD"));
    let details = status.get_error_details();
    assert_eq!(details.error_info().map(|info| info.metadata["board"].as_str()), Some("bluefield3"));
}

#[tokio::test]
async fn a_chunk_that_is_too_long_is_refused() {
    let lab = Lab::with_slots(Role::Owner, Arc::new(Told::default())).await;
    let status = install(&lab, vec![vec![0; (1 << 20) + 1]]).await.expect_err("refused");
    assert_eq!(reason(&status), "BUNDLE_MALFORMED");
}

#[tokio::test]
async fn each_refusal_has_its_code_and_its_reason() {
    use SlotsError as E;
    let text = String::new;
    for (error, code, why) in [
        (E::Busy(text()), Code::Aborted, "INSTALL_BUSY"),
        (E::Needed(text()), Code::FailedPrecondition, "SLOT_NEEDED"),
        (E::Malformed(text()), Code::InvalidArgument, "BUNDLE_MALFORMED"),
        (E::Untrusted(text()), Code::InvalidArgument, "BUNDLE_UNTRUSTED"),
        (E::Expired(text()), Code::InvalidArgument, "BUNDLE_EXPIRED"),
        (E::Older(text()), Code::InvalidArgument, "BUNDLE_OLDER"),
        (E::TooSlow(text()), Code::Aborted, "BUNDLE_TOO_SLOW"),
        (E::NotNewer(text()), Code::FailedPrecondition, "VERSION_NOT_NEWER"),
        (E::Full(text()), Code::ResourceExhausted, "SLOTS_FULL"),
        (E::Failed(text()), Code::Internal, "SLOTS_FAILED"),
        (E::Nothing(text()), Code::FailedPrecondition, "ROLLBACK_IMPOSSIBLE"),
        (E::Image(text()), Code::FailedPrecondition, "BUNDLE_IMAGE"),
        (E::Version(text()), Code::InvalidArgument, "FIELD_MALFORMED"),
    ] {
        let lab =
            Lab::with_slots(Role::Owner, Arc::new(Told { refuse: Some((1, error)), ..Told::default() }))
                .await;
        let status = install(&lab, vec![vec![0; 9]]).await.expect_err("refused");
        assert_eq!((status.code(), reason(&status).as_str()), (code, why));
    }
}

#[tokio::test]
async fn the_slots_are_told_and_what_was_asked_is_done() {
    let told = Arc::new(Told::default());
    let lab = Lab::with_slots(Role::Owner, Arc::clone(&told) as Arc<dyn Slots>).await;
    let mut client = client(&lab);
    let slots = client.get_slots(pb::GetSlotsRequest {}).await.expect("slots").into_inner();
    assert_eq!((slots.board.as_str(), slots.next_version.as_str()), ("generic", "1.2.0"));
    let [running, other] = slots.slots.as_slice() else { panic!("{slots:?}") };
    assert_eq!(
        (running.running, running.state(), running.version.as_str()),
        (true, pb::SlotState::Blessed, "1.2.0")
    );
    assert_eq!((other.running, other.state(), other.tries_done), (false, pb::SlotState::GivenUp, 3));
    let [agent] = slots.agents.as_slice() else { panic!("{slots:?}") };
    assert_eq!((agent.version.as_str(), agent.own, agent.running), ("1.2.1", false, true));
    assert_eq!((agent.state(), agent.tries_left, agent.tries_done), (pb::SlotState::Trial, 2, 1));
    assert_eq!((slots.install.map(|install| install.written), slots.rollback_revision), (Some(5), 77));
    let verified = client.verify(pb::VerifyRequest {}).await.expect("verified").into_inner();
    assert_eq!((verified.version.as_str(), verified.blessed), ("1.2.0", true));
    assert_eq!(verified.activation_failure, "version 1.3.0 did not prove itself in 3 boots");

    let activate = |version: &str, reboot| pb::ActivateRequest { version: version.to_owned(), reboot };
    let activated = client.activate(activate("1.4.0", true)).await.expect("activated").into_inner();
    assert_eq!(activated.kind(), pb::BundleKind::WholeSlot);
    let activated = client.activate(activate("1.2.1", true)).await.expect("activated").into_inner();
    assert_eq!(activated.kind(), pb::BundleKind::AgentAlone);
    let status = client.activate(activate("9.9.9", true)).await.expect_err("not there");
    assert_eq!((status.code(), reason(&status).as_str()), (Code::NotFound, "VERSION_NOT_INSTALLED"));
    let back = pb::RollbackRequest { dry_run: true, reboot: true };
    let back = client.rollback(back).await.expect("would").into_inner();
    assert_eq!((back.restored_revision, back.revision, back.restores_configuration), (77, 80, true));
    client.rollback(pb::RollbackRequest { dry_run: false, reboot: true }).await.expect("done");
    client.factory_reset(pb::FactoryResetRequest { reboot: false }).await.expect("done");
    client.reboot(pb::RebootRequest {}).await.expect("done");
    let asked = told.asked.lock().expect("not poisoned").join(", ");
    assert_eq!(
        asked,
        "activate 1.4.0, reboot, activate 1.2.1, restart, activate 9.9.9, rollback true, rollback false, reboot, reset, reboot"
    );
}

#[tokio::test]
async fn a_viewer_reads_and_changes_nothing() {
    let told = Arc::new(Told::default());
    let lab = Lab::with_slots(Role::Viewer, Arc::clone(&told) as Arc<dyn Slots>).await;
    let mut client = client(&lab);
    client.get_slots(pb::GetSlotsRequest {}).await.expect("slots");
    client.verify(pb::VerifyRequest {}).await.expect("verified");
    let answers = [
        client.activate(pb::ActivateRequest::default()).await.map(drop),
        client.rollback(pb::RollbackRequest { dry_run: true, reboot: false }).await.map(drop),
        client.reboot(pb::RebootRequest {}).await.map(drop),
        client.factory_reset(pb::FactoryResetRequest::default()).await.map(drop),
        install(&lab, vec![vec![0; 9]]).await.map(drop),
    ];
    for answer in answers {
        assert_eq!(answer.expect_err("not permitted").code(), Code::PermissionDenied);
    }
    assert!(told.asked.lock().expect("not poisoned").is_empty());
}
