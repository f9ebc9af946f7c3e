//! What changes in the story, under traffic: a VM joins, a station moves, a policy comes and goes.

use std::fs;
use std::time::Duration;

use e2e::{Lab, LabError, Node, number, overlay};

use super::{RATE, UDP, example};
use e2e::story::{Story, count};

/// Packets a second while something changes.
const MEANWHILE: u64 = 5_000;

pub(super) fn tell(lab: &mut Lab, story: &mut Story) -> Result<(), LabError> {
    joins(lab, story)?;
    moves(lab, story)?;
    policy(lab, story)
}

/// The configuration of the story with something more.
fn with(more: &str) -> Result<String, LabError> {
    let file = example();
    let text = fs::read_to_string(&file)
        .map_err(|source| LabError::Io { what: format!("reading {}", file.display()), source })?;
    Ok(text + more)
}

fn third() -> String {
    overlay::port("vm3", Node::Host3.place().device, 1450, "bridge: bridges/blue")
}

fn joins(lab: &mut Lab, story: &mut Story) -> Result<(), LabError> {
    story.chapter("A third VM joins the bridge");
    let (vm1, vm3, peer) = (Node::Host1.place(), Node::Host3.place(), Node::Wire.place());
    let rules = lab.settled_stats()?.rules();
    lab.apply(&with(&third())?)?;
    for (from, to, names) in [(vm3, vm1, "vm3 -> vm1"), (vm3, peer, "vm3 -> peer")] {
        let ping = lab.ping(from, to.ipv4().into(), 3, 1.0)?;
        let answered = number(&ping["answered"]);
        story.claim(answered == 3, format!("{names}: {answered} of 3 answered"));
    }
    let destroyed = lab.settled_stats()?.rules().1 - rules.1;
    story.say(format!("rules of others that this destroyed: {destroyed}"));
    Ok(())
}

fn moves(lab: &mut Lab, story: &mut Story) -> Result<(), LabError> {
    story.chapter("The peer's station moves to another tunnel while VM 1 sends to it");
    let (vm1, peer) = (Node::Host1.place(), Node::Wire.place());
    lab.udp(vm1, peer, UDP, 1, RATE)?;
    lab.await_hardware("vm1", &format!("eth_dst={}", peer.mac_text()))?;
    let mut sender = lab.send_meanwhile(vm1, (peer.ipv4(), UDP).into(), 20_000, MEANWHILE)?;
    std::thread::sleep(Duration::from_millis(200));
    let (old, new) = ((Node::Wire, "vxlan16"), (Node::Far, "vxlan16"));
    lab.move_station(peer, old, new)?;
    // One frame from the new place is all that the card hears.
    let frame = [&[0xff; 6][..], &peer.mac(), &[0x88, 0xb5], &[0; 46]].concat();
    lab.frames_by(new.0, new.1, std::slice::from_ref(&frame), 1)?;
    std::thread::sleep(Duration::from_millis(100));
    let at_old = lab.packets_at(old.0, old.1)?;
    let at_new = lab.packets_at(new.0, new.1)?;
    std::thread::sleep(Duration::from_millis(500));
    let late = lab.packets_at(old.0, old.1)? - at_old;
    let arrived = lab.packets_at(new.0, new.1)? - at_new;
    story.figure("late_after_move", late);
    story.claim(
        late == 0 && arrived > MEANWHILE / 4,
        format!(
            "100 ms after its first frame there: {late} packets to the old place, {} to the new one",
            count(arrived)
        ),
    );
    // It has seen enough.
    let _ = sender.kill();
    let _ = sender.wait();
    lab.move_station(peer, new, old)?;
    // Before the card has heard it there, an answer goes where it was.
    lab.frames_by(old.0, old.1, &[frame], 1)?;
    std::thread::sleep(Duration::from_millis(100));
    let ping = lab.ping(peer, vm1.ipv4().into(), 3, 1.0)?;
    let answered = number(&ping["answered"]);
    story.claim(answered == 3, format!("it moves back: peer -> vm1: {answered} of 3 answered"));
    Ok(())
}

fn policy(lab: &mut Lab, story: &mut Story) -> Result<(), LabError> {
    story.chapter("A policy comes and goes under traffic");
    let (vm1, peer) = (Node::Host1.place(), Node::Wire.place());
    let mut sender = lab.send_meanwhile(vm1, (peer.ipv4(), UDP).into(), 40_000, MEANWHILE)?;
    let rule = "---\napiVersion: nic.v1\nkind: FlowRule\nname: flowRules/no-udp\nspec: {flow: 'in_port=vm1,udp,actions=drop'}\n";
    lab.apply(&with(&(third() + rule))?)?;
    let before = lab.packets_at(Node::Wire, "vxlan16")?;
    std::thread::sleep(Duration::from_millis(500));
    let through = lab.packets_at(Node::Wire, "vxlan16")? - before;
    story.figure("through_after_drop", through);
    story.claim(
        through == 0,
        format!("a rule drops VM 1's UDP: {through} packets arrive after it was reported applied"),
    );
    lab.apply(&with(&third())?)?;
    let before = lab.packets_at(Node::Wire, "vxlan16")?;
    std::thread::sleep(Duration::from_millis(500));
    let through = lab.packets_at(Node::Wire, "vxlan16")? - before;
    story.claim(through > MEANWHILE / 4, format!("it is gone: {} packets in half a second", count(through)));
    let _ = sender.kill();
    let _ = sender.wait();
    Ok(())
}
