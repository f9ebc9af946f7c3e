//! What the stages have decided so far.

use nic_flow::{Action, ActionList, MacAddr};
use nic_policy::{Bridge, BridgeId, Place};

use crate::effect::{Effect, Inspection};
use crate::management;
use crate::probe::Probe;

/// What is to be done to a packet, and what stages tell later ones.
#[derive(Debug, Default)]
pub struct Plan<'s> {
    /// The actions so far.
    pub(crate) actions: ActionList,
    /// All is decided: the packet meets no further stage.
    pub(crate) ended: bool,
    /// The card's own management gets a copy of the packet as it arrived.
    pub(crate) management: bool,
    /// An output would send it as if the card's own management had.
    pub(crate) forged: bool,
    /// A flow rule decides: the packet meets no bridge.
    pub(crate) decided: bool,
    /// The packet came out of a tunnel, and where into.
    pub(crate) ingress: Option<Ingress<'s>>,
    pub(crate) effects: Vec<Effect>,
    pub(crate) inspect: Vec<Inspection>,
    pub(crate) source: Option<(BridgeId, MacAddr, Place)>,
}

/// Where a frame enters a bridge.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ingress<'s> {
    pub(crate) bridge: &'s Bridge,
    pub(crate) place: Place,
    /// Whether what comes from there is learned.
    pub(crate) learning: bool,
}

impl Ingress<'_> {
    /// Whether the frame came out of a tunnel.
    pub(crate) const fn is_tunnel(&self) -> bool {
        matches!(self.place, Place::Peer(_))
    }
}

impl Plan<'_> {
    /// Adds an action, and does to the packet that the later stages see what it does. The caller has
    /// read that the packet has a place for it.
    pub(crate) fn act(&mut self, probe: &mut Probe<'_>, action: Action) {
        self.forged |= management::is_forged(probe, &action);
        probe.rewrite(&action);
        // Rules are no longer than a list, and stages add a few actions to an empty one.
        let _ = self.actions.push(action);
    }
}
