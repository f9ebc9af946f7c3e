//! What the page of metrics is made of: the binding of [`Source`] to the store, the link and the card's
//! health, and of [`Observer`] to the counts of calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nic_api::{Health, Observer, is_healthy};
use nic_link::client::{Client, Connection};
use nic_metrics::{Agent, Calls, Datapath, Method, Source};
use nic_model::Kind;
use nic_policy::Stats;
use nic_store::Store;
use tonic::Code;

/// What nic-agent tells of itself and of the datapath.
pub(crate) struct Figures {
    store: Arc<Store>,
    datapath: Client,
    health: Arc<Health>,
    restarts: Arc<AtomicU64>,
}

impl Figures {
    /// Figures of all three, and the task that counts nic-datapath's restarts.
    pub(crate) fn new(
        store: Arc<Store>,
        datapath: Client,
        health: Arc<Health>,
    ) -> (Figures, impl Future<Output = ()> + Send + use<>) {
        let restarts = Arc::new(AtomicU64::new(0));
        let mut state = datapath.state();
        let counted = Arc::clone(&restarts);
        let count = async move {
            let mut known = None;
            while state.changed().await.is_ok() {
                let instance = state.borrow_and_update().instance;
                if known.is_some() && known != instance {
                    counted.fetch_add(1, Ordering::Relaxed);
                }
                known = instance.or(known);
            }
        };
        (Figures { store, datapath, health, restarts }, count)
    }
}

impl Source for Figures {
    fn agent(&self) -> Agent {
        let state = self.store.state();
        let link = self.datapath.state().borrow().clone();
        let ports = state.ports_after(None).map(|port| {
            let name = Kind::Port.name(port.id.clone()).to_string();
            (port.spec.device(), name)
        });
        let alarms = self.health.look();
        Agent {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            revision: state.revision(),
            resources: Kind::ALL.iter().map(|kind| (kind.collection(), state.count(*kind))).collect(),
            healthy: is_healthy(&alarms),
            alarms,
            datapath: Datapath {
                connected: link.connection == Connection::Up,
                version: link.version,
                schema: link.schema_version,
                restarts: self.restarts.load(Ordering::Relaxed),
                accepted: link.sent,
                applied: link.applied,
                devices: link.devices,
            },
            ports: ports.collect(),
        }
    }

    async fn stats(&self) -> Option<Stats> {
        // Why there is no answer stands in the log and in the system's status.
        self.datapath.stats().await.ok()
    }
}

/// Counts the calls of the API.
pub(crate) struct Counted(pub(crate) Arc<Calls>);

impl Observer for Counted {
    fn called(&self, method: &str, code: Code, took: Duration) {
        self.0.count(method.trim_start_matches('/'), code.into(), took);
    }
}

/// Counts of all methods that are served.
pub(crate) fn calls(methods: Vec<nic_api::Method>) -> Calls {
    Calls::new(methods.into_iter().map(|method| Method {
        name: method.path.trim_start_matches('/').to_owned(),
        streams: method.streams,
    }))
}
