//! `nic-agent` as a process, on a card whose slots are plain files.

#![forbid(unsafe_code)]

use std::fs;
use std::num::NonZeroU64;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use nic_proto::v1 as pb;
use nic_proto::v1::port_service_client::PortServiceClient;
use nic_proto::v1::status_service_client::StatusServiceClient;
use nic_proto::v1::system_service_client::SystemServiceClient;
use nic_update::bundle::{self, Contents, Key, Kind, Manifest, Source};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

static IMAGE: [u8; 200_000] = [0x5a; 200_000];
static UKI: [u8; 50_000] = [0xa5; 50_000];

/// The card's disk.
struct Card {
    folder: TempDir,
    key: Key,
}

/// A nic-agent on it, until it is dropped.
struct Agent {
    process: Child,
    channel: Channel,
}

fn one() -> NonZeroU64 {
    NonZeroU64::MIN
}

fn in_a_year() -> SystemTime {
    SystemTime::now() + Duration::from_secs(365 * 86_400)
}

impl Card {
    fn flashed() -> Card {
        let card =
            Card { folder: tempfile::tempdir().expect("a folder"), key: Key::generate().expect("a key") };
        for folder in ["esp", "state", "run"] {
            fs::create_dir(card.path(folder)).expect("a folder");
        }
        for (disk, slot) in [("disk1", "root-a"), ("disk2", "root-b")] {
            fs::write(card.path(disk), vec![0; 1 << 20]).expect("written");
            symlink(disk, card.path(slot)).expect("a link");
        }
        fs::write(card.path("esp/nic-1.0.0.efi"), UKI).expect("written");
        card.runs("root-a", "1.0.0");
        let keys = std::slice::from_ref(&card.key);
        let root = bundle::make_root(one(), in_a_year(), keys, one(), keys).expect("a root");
        fs::write(card.path("root.json"), root).expect("written");
        card
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What the image says of the boot.
    fn runs(&self, slot: &str, version: &str) {
        let text = format!("slot={slot}\nversion={version}\nboard=generic\n");
        fs::write(self.path("running"), text).expect("written");
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("esp")).expect("a folder");
        let name = |entry: std::io::Result<fs::DirEntry>| entry.expect("an entry").file_name().into_string();
        let mut names: Vec<String> = entries.map(|entry| name(entry).expect("UTF-8")).collect();
        names.sort();
        names
    }

    fn bundle(&self, version: &str) -> Vec<u8> {
        self.bundle_of(Kind::Slot, version, vec![Source::Bytes(&IMAGE), Source::Bytes(&UKI)])
    }

    fn bundle_of(&self, kind: Kind, version: &str, targets: Vec<Source<'_>>) -> Vec<u8> {
        let version = version.parse().expect("a version");
        let contents = Contents {
            manifest: Manifest { board: "generic".to_owned(), version, kind },
            release: one(),
            expires: in_a_year(),
            targets,
        };
        let root = fs::read(self.path("root.json")).expect("a root");
        let mut bytes = Vec::new();
        let keys = std::slice::from_ref(&self.key);
        bundle::write(&mut bytes, &[root], keys, &contents).expect("a bundle");
        bytes
    }

    async fn start(&self, slots: bool) -> Agent {
        let socket = self.path("run/agent.sock");
        let mut command = Command::new(env!("CARGO_BIN_EXE_nic-agent"));
        command
            .arg("--listen")
            .arg(format!("unix:{}", socket.display()))
            .arg("--datapath")
            .arg(self.path("run/datapath.sock"))
            .arg("--state-dir")
            .arg(self.path("state"))
            .arg("--reboot-request")
            .arg(self.path("run/reboot"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        if slots {
            command.arg("--launch").arg("--slots").arg(self.folder.path());
        }
        let process = command.spawn().expect("a nic-agent");
        Agent { process, channel: connected(&socket).await }
    }
}

/// Waits until it serves.
async fn connected(socket: &Path) -> Channel {
    let endpoint = Endpoint::from_shared(format!("unix:{}", socket.display())).expect("an address");
    loop {
        if let Ok(channel) = endpoint.connect().await {
            return channel;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

impl Agent {
    /// Kills it, and returns when it is gone: the next one is not to be taken for it.
    async fn stop(mut self) {
        self.process.kill().await.expect("killed");
    }

    fn system(&self) -> SystemServiceClient<Channel> {
        SystemServiceClient::new(self.channel.clone())
    }

    async fn install(&self, bytes: &[u8]) -> Result<pb::InstallResponse, tonic::Status> {
        let chunk = |bytes: &[u8]| pb::InstallRequest { chunk: bytes.to_vec() };
        let requests: Vec<_> = bytes.chunks(10_000).map(chunk).collect();
        self.system().install(tokio_stream::iter(requests)).await.map(tonic::Response::into_inner)
    }

    async fn create_port(&self, id: &str) {
        let spec = pb::PortSpec { device: id.to_owned(), ..pb::PortSpec::default() };
        let port = Some(pb::Port { spec: Some(spec), ..pb::Port::default() });
        let request = pb::CreatePortRequest { port_id: id.to_owned(), port, request_id: String::new() };
        PortServiceClient::new(self.channel.clone()).create_port(request).await.expect("created");
    }

    /// Each nic-agent: its version, whether it runs, and what it is.
    async fn agents(&self) -> Vec<(String, bool, pb::SlotState)> {
        let slots = self.system().get_slots(pb::GetSlotsRequest {}).await.expect("slots").into_inner();
        let told = |agent: pb::AgentVersion| (agent.version.clone(), agent.running, agent.state());
        slots.agents.into_iter().map(told).collect()
    }

    async fn revision(&self) -> u64 {
        let mut client = StatusServiceClient::new(self.channel.clone());
        client.get_status(pb::GetStatusRequest {}).await.expect("a status").into_inner().revision
    }
}

#[tokio::test]
async fn a_card_without_slots_serves_all_but_updates() {
    let card = Card::flashed();
    let agent = card.start(false).await;
    let status = agent.system().get_slots(pb::GetSlotsRequest {}).await.expect_err("no slots");
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(status.message().contains("without --slots"), "{}", status.message());
    agent.create_port("p0").await;
}

#[tokio::test]
async fn a_card_goes_to_a_new_version_and_back_with_its_configuration_of_then() {
    let card = Card::flashed();
    let agent = card.start(true).await;
    agent.create_port("p0").await;
    let before = agent.revision().await;
    let installed = agent.install(&card.bundle("2.0.0")).await.expect("installed");
    assert_eq!((installed.version.as_str(), installed.bytes), ("2.0.0", 250_000));
    assert!(fs::read(card.path("disk2")).expect("readable").starts_with(&IMAGE));
    let activate = pb::ActivateRequest { version: "2.0.0".to_owned(), reboot: true };
    agent.system().activate(activate).await.expect("activated");
    assert!(card.path("run/reboot").exists(), "a reboot is asked for");
    assert_eq!(card.names(), ["nic-1.0.0.efi", "nic-2.0.0+3.efi"]);
    agent.stop().await;

    // The boot loader's and the image's part; and the blessing, which takes a datapath.
    fs::rename(card.path("esp/nic-2.0.0+3.efi"), card.path("esp/nic-2.0.0.efi")).expect("renamed");
    card.runs("root-b", "2.0.0");
    let agent = card.start(true).await;
    agent.create_port("pf0vf0").await;
    let slots = agent.system().get_slots(pb::GetSlotsRequest {}).await.expect("slots").into_inner();
    assert_eq!((slots.slots[0].name.as_str(), slots.slots[0].state()), ("root-b", pb::SlotState::Blessed));
    assert_eq!(slots.rollback_revision, before);
    let back = agent.system().rollback(pb::RollbackRequest::default()).await.expect("back").into_inner();
    assert_eq!((back.version.as_str(), back.restored_revision, back.revision), ("1.0.0", before, before + 1));
    assert_eq!(card.names(), ["nic-1.0.0.efi", "nic-2.0.0+0.efi"]);
    agent.stop().await;

    card.runs("root-a", "1.0.0");
    let agent = card.start(true).await;
    assert_eq!(agent.revision().await, before, "the configuration of then");
    agent.system().factory_reset(pb::FactoryResetRequest { reboot: false }).await.expect("marked");
    assert_eq!(agent.revision().await, before, "until the next start");
    agent.stop().await;
    let agent = card.start(true).await;
    assert_eq!(agent.revision().await, 0);
    let refused = agent.install(&card.bundle("1.0.0")).await.expect_err("it runs");
    assert_eq!(refused.code(), Code::FailedPrecondition, "{}", refused.message());
}

#[tokio::test]
async fn what_is_wrong_with_a_bundle_is_told_by_its_code() {
    let card = Card::flashed();
    let agent = card.start(true).await;
    let bundle = card.bundle("2.0.0");
    let cut = agent.install(&bundle[..bundle.len() - 1]).await.expect_err("cut off");
    assert_eq!(cut.code(), Code::InvalidArgument, "{}", cut.message());
    let mut corrupt = bundle.clone();
    let last = corrupt.len() - 1;
    corrupt[last] ^= 1;
    let corrupt = agent.install(&corrupt).await.expect_err("corrupt");
    assert_eq!(corrupt.code(), Code::InvalidArgument, "{}", corrupt.message());
    let stranger = Card::flashed().bundle("2.0.0");
    let forged = agent.install(&stranger).await.expect_err("another key");
    assert_eq!(forged.code(), Code::InvalidArgument);
    assert!(forged.message().contains("not signed by enough keys"), "{}", forged.message());
    assert_eq!(card.names(), ["nic-1.0.0.efi"]);
    agent.install(&bundle).await.expect("whole");
}

#[tokio::test]
async fn a_card_becomes_the_agent_that_was_installed_alone_and_goes_back() {
    use pb::SlotState::{Blessed, GivenUp, Installed, Trial};
    let own = |running| ("1.0.0".to_owned(), running, Blessed);
    let other = |running, state| ("1.0.1".to_owned(), running, state);
    let card = Card::flashed();
    let mut agent = card.start(true).await;
    agent.create_port("p0").await;
    let program = Path::new(env!("CARGO_BIN_EXE_nic-agent"));
    let bundle = card.bundle_of(Kind::Agent, "1.0.1", vec![Source::File(program)]);
    let installed = agent.install(&bundle).await.expect("installed");
    assert_eq!((installed.kind(), installed.version.as_str()), (pb::BundleKind::AgentAlone, "1.0.1"));
    assert_eq!(agent.agents().await, [other(false, Installed), own(true)]);
    let activate = pb::ActivateRequest { version: "1.0.1".to_owned(), reboot: true };
    agent.system().activate(activate).await.expect("activated");
    assert!(agent.process.wait().await.expect("it ends").success(), "to be started again");
    assert!(!card.path("run/reboot").exists(), "and nothing reboots");

    let mut agent = card.start(true).await;
    assert_eq!(agent.agents().await, [other(true, Trial), own(false)]);
    let note = fs::read_to_string(card.path("run/launched")).expect("a note");
    assert_eq!(note, "agent-1.0.1-on-1.0.0+2-1\n");
    assert_eq!(agent.revision().await, 1, "the configuration is the same");
    let back = agent.system().rollback(pb::RollbackRequest::default()).await.expect("back").into_inner();
    assert_eq!((back.kind(), back.version.as_str()), (pb::BundleKind::AgentAlone, "1.0.0"));
    assert!(agent.process.wait().await.expect("it ends").success());

    let agent = card.start(true).await;
    assert_eq!(agent.agents().await, [other(false, GivenUp), own(true)]);
    assert_eq!(fs::read_to_string(card.path("run/launched")).expect("a note"), "image\n");
    assert_eq!(agent.revision().await, 1);
}
