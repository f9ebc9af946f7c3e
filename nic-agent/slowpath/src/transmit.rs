//! Packets on their way out: gathered by port, sent in bursts, counted.

use nic_flow::execute::execute_to_last;
use nic_flow::seam::{BURST, Burst, PacketBuf, PacketIo};
use nic_flow::{Action, Destination, Flood, PortId};
use nic_policy::DropReason;

use crate::ports::Ports;

/// Packets that wait to be sent, by index of the port they leave by. All of them entered by one port.
#[derive(Debug)]
pub(crate) struct Transmit<B> {
    queues: Vec<Queue<B>>,
    /// Ports with packets, in the order of their first one.
    waiting: Vec<u16>,
    /// Outputs beyond the first of a packet: each needed a packet more than came in.
    pub(crate) copies: u64,
    /// Packets that are to be flooded: whoever ran the list does it.
    pub(crate) floods: Vec<(Flood, B)>,
}

#[derive(Debug)]
struct Queue<B> {
    burst: Burst<B>,
    waits: bool,
}

impl<B: PacketBuf> Transmit<B> {
    pub(crate) const fn new() -> Transmit<B> {
        Transmit { queues: Vec::new(), waiting: Vec::new(), copies: 0, floods: Vec::new() }
    }

    /// Makes room for that many ports.
    pub(crate) fn adopt(&mut self, ports: usize) {
        if self.queues.len() < ports {
            self.queues.resize_with(ports, || Queue { burst: Burst::new(), waits: false });
            self.waiting.reserve(ports);
        }
    }

    /// Sends a packet that entered by `from` out of the port of index `to`, soon.
    #[inline]
    pub(crate) fn push<Io: PacketIo<Buf = B>>(
        &mut self,
        io: &mut Io,
        ports: &mut Ports,
        from: u16,
        to: u16,
        packet: B,
    ) {
        let queue = &mut self.queues[usize::from(to)];
        if !queue.waits {
            queue.waits = true;
            self.waiting.push(to);
        }
        if queue.burst.is_full() {
            send(io, ports, from, to, &mut queue.burst);
        }
        // There is room: the burst was sent or its tail dropped.
        if queue.burst.push(packet).is_err() {
            ports.dropped(from, DropReason::TransmitFull, 1);
        }
    }

    /// Runs an action list with at least one output. Floods are left to do.
    pub(crate) fn run<Io: PacketIo<Buf = B>>(
        &mut self,
        io: &mut Io,
        ports: &mut Ports,
        from: u16,
        actions: &[Action],
        mut packet: B,
    ) {
        let ran = execute_to_last(actions, &mut packet, |to, packet| {
            self.copies += 1;
            // Whether the port exists is asked first: a copy for nobody costs a buffer.
            if let Destination::Port(port) = to
                && ports.index(port).is_none()
            {
                ports.dropped(from, DropReason::OutputAbsent, 1);
                return;
            }
            match io.copy(packet) {
                Some(copy) => self.to(io, ports, from, to, copy),
                None => ports.dropped(from, DropReason::NoBuffer, 1),
            }
        });
        match ran {
            Ok(Some(to)) => self.to(io, ports, from, to, packet),
            Ok(None) => ports.dropped(from, DropReason::RuleDrop, 1),
            Err(_) => ports.dropped(from, DropReason::NoHeadroom, 1),
        }
    }

    fn to<Io: PacketIo<Buf = B>>(
        &mut self,
        io: &mut Io,
        ports: &mut Ports,
        from: u16,
        to: Destination,
        packet: B,
    ) {
        match to {
            Destination::Port(port) => self.output(io, ports, from, port, packet),
            Destination::Flood(flood) => self.floods.push((flood, packet)),
        }
    }

    /// Sends a packet as it is out of a port, soon.
    pub(crate) fn output<Io: PacketIo<Buf = B>>(
        &mut self,
        io: &mut Io,
        ports: &mut Ports,
        from: u16,
        port: PortId,
        packet: B,
    ) {
        match ports.index(port) {
            Some(to) => self.push(io, ports, from, to, packet),
            None => ports.dropped(from, DropReason::OutputAbsent, 1),
        }
    }

    /// Sends a packet of the agent's own. What the port does not take counts as its own drop.
    pub(crate) fn send_now<Io: PacketIo<Buf = B>>(
        &mut self,
        io: &mut Io,
        ports: &mut Ports,
        to: u16,
        packet: B,
    ) {
        let mut burst = Burst::new();
        let _ = burst.push(packet);
        send(io, ports, to, to, &mut burst);
    }

    /// Sends all that waits.
    pub(crate) fn flush<Io: PacketIo<Buf = B>>(&mut self, io: &mut Io, ports: &mut Ports, from: u16) {
        for to in self.waiting.drain(..) {
            let queue = &mut self.queues[usize::from(to)];
            queue.waits = false;
            send(io, ports, from, to, &mut queue.burst);
        }
    }
}

/// Sends a burst; what the port does not take is dropped. The burst is empty then.
fn send<Io: PacketIo>(io: &mut Io, ports: &mut Ports, from: u16, to: u16, burst: &mut Burst<Io::Buf>) {
    debug_assert!(burst.len() <= BURST);
    let bytes = |burst: &Burst<Io::Buf>| burst.iter().map(|packet| packet.data().len() as u64).sum::<u64>();
    let (packets, all) = (burst.len() as u64, bytes(burst));
    let port = ports.get_mut(to);
    io.send(port.stats.port, burst);
    let left = burst.len() as u64;
    port.stats.sent.packets += packets - left.min(packets);
    port.stats.sent.bytes += all.saturating_sub(bytes(burst));
    if left > 0 {
        let exception = ports.get(to).stats.port == PortId::MANAGEMENT;
        let reason = if exception { DropReason::ManagementFull } else { DropReason::TransmitFull };
        ports.dropped(from, reason, left);
        burst.clear();
    }
}
