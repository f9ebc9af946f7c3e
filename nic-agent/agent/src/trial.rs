//! A version on trial: looks at the card's health until it is blessed, or has the card boot again.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nic_api::{Configuration, Datapath, DatapathView};
use nic_policy::Revision;
use nic_store::Store;
use nic_update::{Health, MediumError, Trial, Updater, Verdict};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Notify;

use crate::options::Address;
use crate::slots::request_reboot;

/// Time between two looks.
const INTERVAL: Duration = Duration::from_secs(1);
/// Where the kernel tells of network interfaces.
const INTERFACES: &str = "/sys/class/net";

/// What is looked at.
pub(crate) struct Watched {
    pub(crate) configuration: Arc<dyn Configuration>,
    pub(crate) datapath: Arc<dyn Datapath>,
    /// Where nic.v1 is served.
    pub(crate) door: Address,
    /// The interface of the management path, if one is named.
    pub(crate) management: Option<String>,
}

impl Watched {
    /// `revision` is what was configured when the trial began: what came since may still be on its way.
    async fn look(&self, revision: Revision, interfaces: &Path) -> Health {
        Health {
            forwarding: forwards(&self.datapath.view(), revision),
            serving: opens(&self.door).await,
            store: self.configuration.failing().is_none(),
            management: self.management.as_deref().is_none_or(|name| is_up(interfaces, name)),
        }
    }
}

/// Whether nic-datapath does its work by that revision, or a later one.
fn forwards(view: &DatapathView, revision: Revision) -> bool {
    view.connected && view.refused.is_none() && !view.devices.is_empty() && view.applied >= revision
}

/// Whether somebody answers at a door.
async fn opens(door: &Address) -> bool {
    match door {
        Address::Unix(path) => UnixStream::connect(path).await.is_ok(),
        Address::Loopback(address) => TcpStream::connect(address).await.is_ok(),
    }
}

/// Whether an interface is up; one that has no notion of it is.
fn is_up(interfaces: &Path, name: &str) -> bool {
    let state = std::fs::read_to_string(interfaces.join(name).join("operstate"));
    state.is_ok_and(|state| matches!(state.trim(), "up" | "unknown"))
}

/// What is on trial: a slot, nic-agent alone, or both.
pub(crate) struct OnTrial {
    pub(crate) updater: Arc<Updater>,
    pub(crate) store: Arc<Store>,
    /// Where a reboot is asked for, if the slot is on trial.
    pub(crate) reboot: Option<PathBuf>,
    /// Has this process end.
    pub(crate) again: Arc<Notify>,
}

impl OnTrial {
    async fn bless(&self) -> bool {
        let (updater, store) = (Arc::clone(&self.updater), Arc::clone(&self.store));
        let blessed = tokio::task::spawn_blocking(move || {
            updater.bless()?;
            updater.bless_agent()?;
            // From here on there is a way back by the copy only.
            if let Err(error) = store.release() {
                tracing::error!(%error, "the store stays as the version before wrote it until the next change");
            }
            Ok::<_, MediumError>(())
        });
        let error = match blessed.await {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        // The ESP may come back; without a blessing the boot loader goes back one day.
        tracing::error!(error, "this version cannot be blessed");
        false
    }

    /// The next try.
    fn again(&self) {
        match &self.reboot {
            Some(reboot) => {
                if let Err(error) = request_reboot(reboot) {
                    tracing::error!(%error, "no reboot can be asked for");
                }
            }
            None => self.again.notify_one(),
        }
    }
}

/// Blesses what runs once it has proven itself; has it tried again if it does not.
pub(crate) async fn run(on_trial: OnTrial, watched: Watched) {
    let started = Instant::now();
    let revision = watched.configuration.state().revision();
    let mut trial = Trial::new(started.elapsed());
    tracing::info!(revision = revision.0, "this version is on trial");
    loop {
        tokio::time::sleep(INTERVAL).await;
        let health = watched.look(revision, Path::new(INTERFACES)).await;
        match trial.look(started.elapsed(), &health) {
            Verdict::Wait => {}
            Verdict::Bless => {
                if on_trial.bless().await {
                    return;
                }
            }
            Verdict::Reboot => {
                tracing::error!(missing = ?health.missing(), "this version has not proven itself");
                on_trial.again();
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use nic_policy::Device;

    use super::*;

    fn view() -> DatapathView {
        let port = "p0".parse().expect("a device");
        let device = Device { port, link_up: true, mtu: 9000, mac: Default::default() };
        DatapathView {
            connected: true,
            devices: vec![device],
            applied: Revision(7),
            ..DatapathView::default()
        }
    }

    #[test]
    fn a_datapath_forwards_if_it_is_there_with_its_devices_and_the_policy() {
        assert!(forwards(&view(), Revision(7)));
        for (what, view) in [
            ("away", DatapathView { connected: false, ..view() }),
            ("refusing", DatapathView { refused: Some("a newer schema".to_owned()), ..view() }),
            ("without devices", DatapathView { devices: Vec::new(), ..view() }),
            ("behind", DatapathView { applied: Revision(6), ..view() }),
        ] {
            assert!(!forwards(&view, Revision(7)), "{what}");
        }
    }

    #[tokio::test]
    async fn a_door_is_open_while_somebody_listens() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("door.sock");
        let door = Address::Unix(path.clone());
        assert!(!opens(&door).await);
        let listener = tokio::net::UnixListener::bind(&path).expect("a socket");
        assert!(opens(&door).await);
        drop(listener);
        assert!(!opens(&door).await);
    }

    #[test]
    fn the_management_path_is_up_when_the_kernel_says_so() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(!is_up(folder.path(), "mgmt0"), "there is no such interface");
        std::fs::create_dir(folder.path().join("mgmt0")).expect("a folder");
        for (state, up) in
            [("up\n", true), ("unknown\n", true), ("down\n", false), ("lowerlayerdown\n", false)]
        {
            std::fs::write(folder.path().join("mgmt0/operstate"), state).expect("written");
            assert_eq!(is_up(folder.path(), "mgmt0"), up, "{state:?}");
        }
    }
}
