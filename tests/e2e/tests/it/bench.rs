//! What the tests share: a lab at a time, and the simplest configuration.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};

use e2e::{Lab, LabError, Node, Options, Place};

pub(crate) type Outcome = Result<(), LabError>;

static TURN: Mutex<()> = Mutex::new(());

/// Waits for one's turn.
pub(crate) fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A lab, and the turn to have one.
pub(crate) struct Bench {
    // Goes first.
    lab: Lab,
    _turn: MutexGuard<'static, ()>,
}

impl Bench {
    pub(crate) fn start(options: Options) -> Result<Bench, LabError> {
        let turn = turn();
        Ok(Bench { lab: Lab::start(options)?, _turn: turn })
    }

    /// The usual one.
    pub(crate) fn usual() -> Result<Bench, LabError> {
        Bench::start(Options::default())
    }

    /// Frames that have come in at a node since it exists.
    pub(crate) fn frames_at(&self, place: Place) -> u64 {
        let mut command = self.command(place.node, "cat");
        let output = command.arg("/sys/class/net/eth0/statistics/rx_packets").output().expect("cat runs");
        String::from_utf8_lossy(&output.stdout).trim().parse().expect("a number")
    }
}

impl Deref for Bench {
    type Target = Lab;

    fn deref(&self) -> &Lab {
        &self.lab
    }
}

impl DerefMut for Bench {
    fn deref_mut(&mut self) -> &mut Lab {
        &mut self.lab
    }
}

/// The places.
pub(crate) fn vm1() -> Place {
    Node::Host1.place()
}

pub(crate) fn vm2() -> Place {
    Node::Host2.place()
}

pub(crate) fn peer() -> Place {
    Node::Wire.place()
}

/// The three ports, open.
pub(crate) const PORTS: &str = "\
---
apiVersion: nic.v1
kind: Port
name: ports/pf0
spec: {device: p0}
---
apiVersion: nic.v1
kind: Port
name: ports/vm1
spec: {device: pf0vf0}
---
apiVersion: nic.v1
kind: Port
name: ports/vm2
spec: {device: pf0vf1}
";

/// The ports, and rules by name and flow.
pub(crate) fn with_rules(rules: &[(&str, &str)]) -> String {
    let rule = |(name, flow): &(&str, &str)| {
        format!("---\napiVersion: nic.v1\nkind: FlowRule\nname: flowRules/{name}\nspec: {{flow: '{flow}'}}\n")
    };
    PORTS.to_owned() + &rules.iter().map(rule).collect::<String>()
}

/// Each VM has a wire to the peer, by the address it sends to.
pub(crate) fn wires() -> String {
    let to_vm1 = format!("in_port=pf0,dl_dst={},actions=output:vm1", vm1().mac_text());
    let to_vm2 = format!("in_port=pf0,dl_dst={},actions=output:vm2", vm2().mac_text());
    with_rules(&[
        ("vm1", "in_port=vm1,actions=output:pf0"),
        ("vm2", "in_port=vm2,actions=output:pf0"),
        ("to-vm1", &to_vm1),
        ("to-vm2", &to_vm2),
    ])
}
