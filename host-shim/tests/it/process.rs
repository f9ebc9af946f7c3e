//! The shim as a process: its socket, its signals, its appetite.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nic_proto::v1::GetStatusRequest;
use nic_proto::v1::status_service_client::StatusServiceClient;
use tempfile::TempDir;

use crate::card::Card;
use crate::connect;

/// A running shim; killed when a test fails.
struct Shim {
    child: Child,
    notify: UnixDatagram,
    directory: TempDir,
}

impl Drop for Shim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Shim {
    /// Starts a shim and waits until it says that it is ready.
    fn start() -> Shim {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let notify = UnixDatagram::bind(directory.path().join("notify.sock")).expect("a socket");
        notify.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
        let child = command(directory.path()).spawn().expect("a shim");
        let shim = Shim { child, notify, directory };
        assert_eq!(shim.told(), "READY=1");
        shim
    }

    fn told(&self) -> String {
        let mut buffer = [0; 256];
        let length = self.notify.recv(&mut buffer).expect("a message to systemd");
        String::from_utf8_lossy(&buffer[..length]).trim_end().to_owned()
    }

    /// How often the process gave up the CPU to wait for something.
    fn wakeups(&self) -> String {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("its status");
        let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches"));
        line.expect("a counter").to_owned()
    }
}

fn command(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_host-shim"));
    command
        .arg("--listen")
        .arg(directory.join("host.sock"))
        .arg("--card")
        .arg(format!("unix:{}", directory.join("card.sock").display()))
        .args(["--mode", "0640", "--grace", "1"])
        .env("NOTIFY_SOCKET", directory.join("notify.sock"))
        .env_remove("RUST_LOG")
        .stderr(Stdio::piped());
    command
}

#[test]
fn sigterm_ends_it_and_takes_its_socket_away() {
    let mut shim = Shim::start();
    let socket = shim.directory.path().join("host.sock");
    let mode = std::fs::metadata(&socket).expect("the socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
    let kill = Command::new("kill").arg(shim.child.id().to_string()).status().expect("kill");
    assert!(kill.success());
    assert_eq!(shim.told(), "STOPPING=1");
    assert_eq!(shim.child.wait().expect("an exit status").code(), Some(0));
    assert!(!socket.exists());
}

#[tokio::test]
async fn it_sleeps_while_clients_are_connected_and_silent() {
    let shim = Shim::start();
    let _card = Card::default().serve(&shim.directory.path().join("card.sock"));
    let mut client = StatusServiceClient::new(connect(&shim.directory.path().join("host.sock")).await);
    client.get_status(GetStatusRequest {}).await.expect("an answer");
    tokio::time::sleep(Duration::from_millis(300)).await;
    let before = shim.wakeups();
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(shim.wakeups(), before, "it woke up with nothing to do");
}

#[test]
fn a_socket_left_behind_is_replaced_and_one_in_use_is_not() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("host.sock");
    let first = UnixListener::bind(&path).expect("a socket");

    let output = command(directory.path()).output().expect("a shim");
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(message.contains("another process listens on"), "{message}");

    drop(first);
    assert!(path.exists());
    let notify = UnixDatagram::bind(directory.path().join("notify.sock")).expect("a socket");
    notify.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    let child = command(directory.path()).spawn().expect("a shim");
    let shim = Shim { child, notify, directory };
    assert_eq!(shim.told(), "READY=1");
    UnixStream::connect(&path).expect("a shim that listens");
}

#[test]
fn a_file_in_the_way_is_left_alone() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("host.sock");
    std::fs::write(&path, "precious").expect("a file");
    let output = command(directory.path()).output().expect("a shim");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(std::fs::read_to_string(&path).expect("the file"), "precious");
}

#[test]
fn a_wrong_command_line_is_said_to_be_one() {
    for arguments in [
        &["--card", "192.168.100.2"][..],
        &[][..],
        &["--card", "unix:/x", "--mode", "999"][..],
        &["--nonsense"][..],
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_host-shim"))
            .args(arguments)
            .env_remove("HOST_SHIM_CARD")
            .output()
            .expect("a shim");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
}
