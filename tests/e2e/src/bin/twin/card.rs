//! What several stories do with a card, and ask of it.

use std::path::Path;
use std::time::{Duration, Instant};

use e2e::overlay::{Endpoint, Underlay};
use e2e::story::{Story, count};
use e2e::{Answer, Lab, LabError, Node, Place, Received, number};
use serde_json::Value;

/// Ports of the receivers.
pub(crate) const UDP: u16 = 5001;
pub(crate) const TCP: u16 = 5002;
/// How many packets a second: an emulated processor that was kept waiting has to catch up within its queues.
pub(crate) const RATE: u64 = 200;
/// How long a stream's end may keep its receiver waiting.
const IDLE: Duration = Duration::from_secs(10);
/// For how long a version may be on trial, at most, here.
const TRIAL: &str = "--wait=900";
/// What one boot may take, from its beginning to that of the next.
pub(crate) const BOOT: Duration = Duration::from_secs(900);

/// The two ends of what crosses the card.
pub(crate) fn ends() -> (Place, Place) {
    (Node::Host1.place(), Node::Wire.place())
}

/// Switches it on for the first time, with an overlay around it, and configures it.
pub(crate) fn begin(lab: &mut Lab, story: &mut Story) -> Result<(), LabError> {
    story.chapter("The card is switched on, and configured");
    let start = Instant::now();
    lab.power_on()?;
    lab.make_overlay(Endpoint::Kernel, Underlay::Ipv4)?;
    lab.await_card()?;
    story.say(format!("it answers after {:.0} s", start.elapsed().as_secs_f64()));
    configure(lab, story)?;
    forwards(lab, story)
}

/// Switches it on again, the same wires around it.
pub(crate) fn power_on_again(lab: &mut Lab) -> Result<(), LabError> {
    lab.power_on()?;
    lab.rejoin_overlay(Underlay::Ipv4)?;
    lab.await_card()
}

/// Gives it the configuration of the examples.
pub(crate) fn configure(lab: &Lab, story: &mut Story) -> Result<(), LabError> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/examples/overlay.yaml");
    let answer = lab.nicctl(&["apply", "-f", &file.to_string_lossy(), "--yes", "--wait"])?;
    story.show(&format!("{}{}", answer.out, answer.err));
    story.claim(answer.code == 0, "the configuration is accepted, stored, and applied by the datapath");
    Ok(())
}

/// Says whether packets cross it both ways, as the configuration has it.
pub(crate) fn forwards(lab: &mut Lab, story: &mut Story) -> Result<(), LabError> {
    let (vm, peer) = ends();
    let mut answered = 0;
    // After a boot the first ones may wait for neighbours and teach addresses.
    lab.until("an answer of the peer through the card", Duration::from_secs(90), |lab| {
        answered = number(&lab.ping(vm, peer.ipv4().into(), 5, 2.0)?["answered"]);
        Ok(if answered == 5 { Ok(()) } else { Err(format!("{answered} of 5 answered")) })
    })?;
    let received = lab.udp(peer, vm, UDP, RATE, RATE)?;
    let whole = received.distinct == RATE && received.duplicates == 0;
    story.claim(
        answered == 5 && whole,
        format!("it forwards: {answered} of 5 pings, {} of {RATE} numbered packets", received.distinct),
    );
    Ok(())
}

/// Claims that all of so many numbered packets arrived, each once.
pub(crate) fn all_arrived(story: &mut Story, way: &str, received: &Received, packets: u64) {
    let (distinct, duplicates) = (received.distinct, received.duplicates);
    story.claim(
        distinct == packets && duplicates == 0,
        format!("{way}: {} of {} arrived, {duplicates} twice", count(distinct), count(packets)),
    );
}

/// Says that nothing crosses it.
pub(crate) fn is_closed(lab: &Lab, story: &mut Story) -> Result<(), LabError> {
    let (vm, peer) = ends();
    let answered = number(&lab.ping(vm, peer.ipv4().into(), 2, 1.0)?["answered"]);
    story.claim(answered == 0, format!("nothing crosses it: {answered} of 2 pings answered"));
    Ok(())
}

/// What its slots hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slots(pub(crate) Value);

impl Slots {
    pub(crate) fn of(lab: &Lab) -> Result<Slots, LabError> {
        lab.json(&["system", "status"]).map(Slots)
    }

    fn slot(&self, running: bool) -> &Value {
        let slots = self.0["slots"].as_array().map(Vec::as_slice).unwrap_or_default();
        let wanted = |slot: &&Value| (slot["running"] == true) == running;
        slots.iter().find(wanted).unwrap_or(&Value::Null)
    }

    /// The version that runs, and what it is to the boot loader.
    pub(crate) fn running(&self) -> (&str, &str) {
        word(self.slot(true))
    }

    /// The same of the other slot.
    pub(crate) fn other(&self) -> (&str, &str) {
        word(self.slot(false))
    }

    /// What a nic-agent is to its next start, and whether it runs.
    pub(crate) fn agent(&self, version: &str) -> (&str, bool) {
        let found = self.agents().iter().find(|agent| agent["version"] == version).unwrap_or(&Value::Null);
        (word(found).1, found["running"] == true)
    }

    /// The version of the nic-agent that runs.
    pub(crate) fn serving(&self) -> Option<&str> {
        self.agents().iter().find(|agent| agent["running"] == true)?["version"].as_str()
    }

    fn agents(&self) -> &[Value] {
        self.0["agents"].as_array().map(Vec::as_slice).unwrap_or_default()
    }
}

fn word(slot: &Value) -> (&str, &str) {
    (slot["version"].as_str().unwrap_or_default(), slot["state"].as_str().unwrap_or_default())
}

/// The names of the boot entries.
pub(crate) fn entries(lab: &mut Lab) -> Result<Vec<String>, LabError> {
    let listing = lab.shell("ls -1 /run/nic/slots/esp/")?;
    Ok(listing.split_whitespace().map(str::to_owned).collect())
}

/// Claims which version runs, and that it has proven itself, after waiting for that.
pub(crate) fn proven(lab: &mut Lab, story: &mut Story, version: &str) -> Result<(), LabError> {
    let status = lab.nicctl(&["system", "status", TRIAL])?;
    story.show(&format!("{}{}", status.out, status.err));
    let slots = Slots::of(lab)?;
    let (runs, state) = slots.running();
    story.claim(runs == version && state == "BLESSED", format!("version {runs} runs, and has proven itself"));
    Ok(())
}

/// Installs a bundle that is good. Gives how long that took.
pub(crate) fn install(lab: &Lab, story: &mut Story, bundle: &Path) -> Result<Duration, LabError> {
    let start = Instant::now();
    let answer = lab.nicctl(&["system", "install", &bundle.to_string_lossy()])?;
    let took = start.elapsed();
    story.show(&said(&answer));
    story.claim(answer.code == 0, format!("installed in {:.0} s", took.as_secs_f64()));
    Ok(took)
}

/// Runs a verb of `system` that must succeed.
pub(crate) fn system(lab: &Lab, story: &mut Story, words: &[&str]) -> Result<String, LabError> {
    let answer = lab.nicctl(&[&["system"], words].concat())?;
    story.show(&format!("{}{}", answer.out, answer.err));
    story.claim(answer.code == 0, format!("nicctl system {}", words.join(" ")));
    Ok(answer.out)
}

/// What a program said, in one line: a progress bar overwrites its own, and the request's id is another each
/// time.
pub(crate) fn said(answer: &Answer) -> String {
    let text = format!("{}\n{}", answer.err, answer.out);
    let lines = text.lines().map(|line| line.rsplit('\r').next().unwrap_or_default().trim());
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with("request id:"));
    lines.collect::<Vec<_>>().join("; ")
}

/// Does something while numbered packets cross the card, and claims that none was lost.
pub(crate) fn under_traffic<T>(
    lab: &mut Lab,
    story: &mut Story,
    act: impl FnOnce(&mut Lab, &mut Story) -> Result<T, LabError>,
) -> Result<T, LabError> {
    let (vm, peer) = ends();
    let to = std::net::SocketAddr::new(peer.ipv4().into(), UDP);
    let receiver = lab.receive_stream(peer, to, IDLE)?;
    let sender = lab.stream(vm, to, RATE / 2, u64::MAX >> 1)?;
    let done = act(lab, story)?;
    let (sent, _) = sender.stop()?;
    let received = Received::from(receiver.finish()?);
    let whole = received.distinct == sent && received.duplicates == 0;
    story.claim(
        sent > 0 && whole,
        format!("meanwhile {} of {} numbered packets crossed it", count(received.distinct), count(sent)),
    );
    Ok(done)
}
