//! What a packet without a flow brings about: effects of its translation, a look into it, and its end.

use nic_flow::extract::extract;
use nic_flow::seam::{PacketBuf, PacketIo};
use nic_flow::{FlowKey, PortId, Shape};
use nic_pipeline::{Effect, Translation, translate};
use nic_policy::stats::StageStats;
use nic_policy::{DropReason, Network, Stage};

use crate::flows::Verdict;
use crate::megaflows::{Megaflows, NewFlow, is_cacheable};
use crate::underlay::{Towards, Waiting};
use crate::worker::Worker;

impl<Io: PacketIo> Worker<Io> {
    /// A packet without a flow.
    pub(crate) fn upcall(&mut self, key: &FlowKey, from: u16, packet: Io::Buf, now: u64) {
        self.megaflows.ports.get_mut(from).stats.upcalls += 1;
        let before = self.megaflows.stages;
        let (translation, stages) = self.translate(key, before, now);
        self.megaflows.stages = stages;
        if translation.management {
            self.copy_to_management(from, &packet);
        }
        self.carry_out(key, &translation, from, packet, now);
    }

    /// The card's own management gets a copy of what arrived, once for each packet.
    fn copy_to_management(&mut self, from: u16, packet: &Io::Buf) {
        let ports = &mut self.megaflows.ports;
        self.transmit.copies += 1;
        match self.io.copy(packet) {
            Some(copy) => self.transmit.output(&mut self.io, ports, from, PortId::MANAGEMENT, copy),
            None => ports.dropped(from, DropReason::NoBuffer, 1),
        }
    }

    /// A packet that waited for a next hop. It was counted when it came.
    pub(crate) fn resume(&mut self, from: u16, packet: Io::Buf, now: u64) {
        let key = extract(packet.data(), self.megaflows.ports.get(from).stats.port);
        let (translation, _) = self.translate(&key, Default::default(), now);
        self.carry_out(&key, &translation, from, packet, now);
    }

    /// Translates, does what the translation wants done, and, if that changed what translation reads,
    /// translates once more. Of the stages only what is true in the end is counted.
    fn translate(
        &mut self,
        key: &FlowKey,
        before: [StageStats; Stage::COUNT],
        now: u64,
    ) -> (Translation, [StageStats; Stage::COUNT]) {
        let mut again = true;
        loop {
            let mut stages = before;
            let Megaflows { snapshot, state, .. } = &self.megaflows;
            let translation = translate(key, snapshot, state, &mut stages);
            if let Some((bridge, mac, place)) = translation.source {
                self.megaflows.state.fdb.refresh(bridge, mac, place, now);
            }
            let mut learned = false;
            for effect in &translation.effects {
                if let Effect::Learn { bridge, mac, place } = *effect {
                    learned |= self.megaflows.learn(bridge, mac, place, now);
                }
            }
            if learned && again {
                again = false;
                continue;
            }
            for effect in &translation.effects {
                // The answer comes later, so nothing changes yet. Whether there is room for the question
                // shows when the packet is to wait.
                if let Effect::Resolve { vtep, address } = *effect {
                    self.underlay.want((vtep, address), now);
                }
            }
            return (translation, stages);
        }
    }

    fn carry_out(&mut self, key: &FlowKey, translation: &Translation, from: u16, packet: Io::Buf, now: u64) {
        if translation.verdict == nic_policy::Verdict::Wait {
            // It is looked into when it goes on.
            self.wait(translation, from, packet);
            return;
        }
        if self.look_into(translation, from, &packet, now) {
            self.megaflows.counters.taken += 1;
            return;
        }
        let megaflows = &mut self.megaflows;
        if is_cacheable(translation) {
            let flow = NewFlow { key, shape: Shape::cover(&translation.read), translation, port: from };
            if let Some(slot) = megaflows.link(&flow, now) {
                megaflows.flows.hot_mut(slot).counters.add(packet.data().len());
            }
        }
        match megaflows.verdict(translation) {
            Verdict::Drop(reason) => megaflows.ports.dropped(from, reason, 1),
            Verdict::Send(to) => self.transmit.push(&mut self.io, &mut megaflows.ports, from, to, packet),
            Verdict::Run => {
                self.transmit.run(&mut self.io, &mut megaflows.ports, from, &translation.actions, packet);
                self.flood_all(from, now);
            }
        }
    }

    /// Looks into a packet for all who want it. True if it goes no further: it is the agent's, or was a
    /// question that is answered.
    fn look_into(&mut self, translation: &Translation, from: u16, packet: &Io::Buf, now: u64) -> bool {
        let own = translation.verdict == nic_policy::Verdict::Local;
        let mut ends = own;
        for inspection in &translation.inspect {
            match inspection.network {
                Network::Underlay(vtep) => self.hear(vtep, own, packet, now),
                Network::Bridge(bridge) => ends |= self.suppress(bridge, inspection, from, packet, now),
            }
        }
        ends
    }

    /// The packet waits for the next hop that its translation asked for.
    fn wait(&mut self, translation: &Translation, from: u16, packet: Io::Buf) {
        let hop = translation.effects.iter().find_map(|effect| match *effect {
            Effect::Resolve { vtep, address } => Some((vtep, address)),
            Effect::Learn { .. } => None,
        });
        let waiting = Waiting { from, packet, towards: Towards::Pipeline };
        let refused = match hop {
            Some(hop) => self.underlay.wait(hop, waiting).is_err(),
            None => true,
        };
        if refused {
            self.megaflows.ports.dropped(from, DropReason::NeighborQueueFull, 1);
        }
    }
}
