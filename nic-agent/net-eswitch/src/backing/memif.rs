//! memif: shared memory with another process, such as VPP or a DPDK application (version 2.0 of the
//! protocol). This side is the server: it listens on a unix socket for one client at a time, whose
//! memory and rings both use. A client that goes away may come again.

use std::fmt;
use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nic_flow::seam::PacketBuf;
use nix::cmsg_space;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::EventFd;
use nix::sys::socket::{
    AddressFamily, Backlog, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr, accept4, bind,
    listen, recvmsg, send, socket,
};

use super::{BackingCounters, MAX_BATCH, Piece, SendError};
use crate::frame::{Frame, MAX_FRAME, Pool};
use memory::{Region, Ring};
use message::{Fault, Message, RingPlace};

mod memory;
mod message;

/// What the events of [`Memif`] are about.
const LISTENER: u64 = 0;
const CONTROL: u64 = 1;
const FRAMES: u64 = 2;

/// Why no client can be waited for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error("{path}: {why}")]
    Socket { path: String, why: nix::Error },
    #[error("{path} is there, and is no socket")]
    Occupied { path: String },
}

/// A socket that listens, and the client.
pub(crate) struct Memif {
    epoll: Epoll,
    listener: OwnedFd,
    path: PathBuf,
    client: Mutex<Option<Client>>,
}

impl Memif {
    pub(crate) fn open(path: &str) -> Result<Memif, OpenError> {
        let refused = |why| OpenError::Socket { path: path.into(), why };
        // What a process that ended without ceremony left.
        if let Ok(left) = std::fs::symlink_metadata(path) {
            if !left.file_type().is_socket() {
                return Err(OpenError::Occupied { path: path.into() });
            }
            let _ = std::fs::remove_file(path);
        }
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let listener = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).map_err(refused)?;
        let address = UnixAddr::new(path).map_err(refused)?;
        bind(listener.as_raw_fd(), &address).map_err(refused)?;
        let one = Backlog::new(1).map_err(refused)?;
        listen(&listener, one).map_err(refused)?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(refused)?;
        epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER)).map_err(refused)?;
        Ok(Memif { epoll, listener, path: path.into(), client: Mutex::default() })
    }

    /// One for all that may happen: an epoll is readable when one of its own is.
    pub(crate) fn event(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }

    pub(crate) fn link_up(&self) -> bool {
        self.client().as_ref().is_some_and(Client::is_connected)
    }

    fn client(&self) -> MutexGuard<'_, Option<Client>> {
        self.client.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn receive(&self, pool: &Arc<Pool>, counters: &BackingCounters, frames: &mut Vec<Frame>) {
        let mut events = [EpollEvent::empty(); 3];
        let ready = self.epoll.wait(&mut events, EpollTimeout::ZERO).unwrap_or(0);
        let mut client = self.client();
        for event in &events[..ready] {
            let done = match (event.data(), client.as_mut()) {
                (LISTENER, _) => {
                    self.accept(&mut client);
                    Ok(())
                }
                (CONTROL, Some(client)) => client.control(&self.epoll),
                (_, Some(client)) => client.frames(pool, counters, frames),
                (_, None) => Ok(()),
            };
            if let Err(fault) = done {
                if let Some(client) = client.take() {
                    client.leave(&self.epoll);
                    client.tell(&message::disconnect(fault));
                }
                if fault != GONE {
                    BackingCounters::count(&counters.receive_errors);
                }
            }
        }
    }

    fn accept(&self, client: &mut Option<Client>) {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let Ok(raw) = accept4(self.listener.as_raw_fd(), flags) else { return };
        // SAFETY: the descriptor was just made and is nobody else's.
        let socket = unsafe { OwnedFd::from_raw_fd(raw) };
        let new = Client { socket, regions: Vec::new(), to_here: None, from_here: None, connected: false };
        if client.is_some() {
            return new.tell(&message::disconnect(Fault("another client is connected")));
        }
        if self.epoll.add(&new.socket, EpollEvent::new(EpollFlags::EPOLLIN, CONTROL)).is_ok() {
            new.tell(&message::hello());
            *client = Some(new);
        }
    }

    pub(crate) fn send(&self, frames: &[&[Piece<'_>]]) -> (usize, Option<SendError>) {
        let mut client = self.client();
        let Some(client) = client.as_mut().filter(|client| client.is_connected()) else {
            return (0, Some(SendError::Down));
        };
        client.send(frames)
    }
}

impl Drop for Memif {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

impl fmt::Debug for Memif {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memif").field("path", &self.path).field("up", &self.link_up()).finish_non_exhaustive()
    }
}

/// The client went away by itself.
const GONE: Fault = Fault("");

/// A process that connected.
struct Client {
    socket: OwnedFd,
    regions: Vec<Region>,
    to_here: Option<Ring>,
    from_here: Option<Ring>,
    connected: bool,
}

impl Client {
    fn is_connected(&self) -> bool {
        self.connected
    }

    /// Takes its events away. The client holds one of them too, so that closing it would not do.
    fn leave(&self, epoll: &Epoll) {
        let _ = epoll.delete(&self.socket);
        if let Some(ring) = self.to_here.as_ref().filter(|_| self.connected) {
            let _ = epoll.delete(&ring.event);
        }
    }

    /// A message that the client does not take is lost with it: it is about to be gone.
    fn tell(&self, message: &[u8; message::LENGTH]) {
        let _ = send(self.socket.as_raw_fd(), message, MsgFlags::MSG_NOSIGNAL);
    }

    /// Reads one message and answers it.
    fn control(&mut self, epoll: &Epoll) -> Result<(), Fault> {
        let mut bytes = [0; message::LENGTH];
        let Some((length, fd)) = self.next(&mut bytes)? else { return Ok(()) };
        if length != message::LENGTH {
            return Err(Fault("a message has 128 bytes"));
        }
        let answer = match (message::read(&bytes)?, fd) {
            (Message::Disconnect, _) => return Err(GONE),
            (_, _) if self.connected => return Err(Fault("connected already")),
            (Message::Init, _) => message::ack(),
            (Message::AddRegion { index, size }, Some(fd)) => {
                if usize::from(index) != self.regions.len() || index >= message::MAX_REGIONS {
                    return Err(Fault("regions come in their order"));
                }
                self.regions.push(Region::map(fd, size)?);
                message::ack()
            }
            (Message::AddRing(place), Some(fd)) => {
                self.add_ring(place, fd)?;
                message::ack()
            }
            (Message::AddRegion { .. } | Message::AddRing(_), None) => {
                return Err(Fault("a descriptor is missing"));
            }
            (Message::Connect, _) => {
                let (Some(to_here), Some(_)) = (&self.to_here, &self.from_here) else {
                    return Err(Fault("a ring is missing"));
                };
                let event = EpollEvent::new(EpollFlags::EPOLLIN, FRAMES);
                epoll.add(&to_here.event, event).map_err(|_| Fault("the interrupt is no event"))?;
                self.connected = true;
                message::connected()
            }
        };
        self.tell(&answer);
        Ok(())
    }

    /// The next message, and the descriptor that came with it.
    fn next(&self, bytes: &mut [u8]) -> Result<Option<(usize, Option<OwnedFd>)>, Fault> {
        let mut parts = [IoSliceMut::new(bytes)];
        let mut space = cmsg_space!([std::os::fd::RawFd; 1]);
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
        let received = recvmsg::<UnixAddr>(self.socket.as_raw_fd(), &mut parts, Some(&mut space), flags);
        let received = match received {
            Ok(received) => received,
            Err(nix::Error::EAGAIN | nix::Error::EINTR) => return Ok(None),
            Err(_) => return Err(GONE),
        };
        let mut fd = None;
        for message in received.cmsgs().map_err(|_| Fault("more than one descriptor"))? {
            if let ControlMessageOwned::ScmRights(raw) = message {
                for raw in raw {
                    // SAFETY: the kernel gave the descriptor to this process with the message.
                    fd = Some(unsafe { OwnedFd::from_raw_fd(raw) });
                }
            }
        }
        if received.bytes == 0 { Err(GONE) } else { Ok(Some((received.bytes, fd))) }
    }

    fn add_ring(&mut self, place: RingPlace, fd: OwnedFd) -> Result<(), Fault> {
        let ring = Ring::new(&self.regions, place, event(fd)?)?;
        let slot = if place.to_here { &mut self.to_here } else { &mut self.from_here };
        match slot.replace(ring) {
            None => Ok(()),
            Some(_) => Err(Fault("one ring for each direction")),
        }
    }

    /// Takes what the client sent, one batch of it.
    fn frames(
        &mut self,
        pool: &Arc<Pool>,
        counters: &BackingCounters,
        frames: &mut Vec<Frame>,
    ) -> Result<(), Fault> {
        let Some(ring) = &mut self.to_here else { return Ok(()) };
        // Before the ring is looked at: what comes later raises the event again.
        ring.lower();
        for _ in 0..MAX_BATCH {
            let waiting = ring.waiting(&self.regions)?;
            if waiting == 0 {
                return Ok(());
            }
            let (frame, used) = take(ring, &self.regions, waiting, pool, counters)?;
            ring.advance(&self.regions, used)?;
            frames.extend(frame);
        }
        ring.raise();
        Ok(())
    }

    fn send(&mut self, frames: &[&[Piece<'_>]]) -> (usize, Option<SendError>) {
        let Some(ring) = &mut self.from_here else { return (0, Some(SendError::Down)) };
        let mut sent = 0;
        let mut error = None;
        while error.is_none() && sent < frames.len() {
            match put(ring, &self.regions, frames[sent]) {
                Ok(true) => sent += 1,
                Ok(false) => error = Some(SendError::Full),
                // The client's rings are broken. What reads them ends the connection.
                Err(_) => error = Some(SendError::Down),
            }
        }
        if sent > 0 && ring.wake(&self.regions).is_err() {
            error = Some(SendError::Down);
        }
        (sent, error)
    }
}

/// The client's event. It is used without waiting for anything: other files could keep this thread.
fn event(fd: OwnedFd) -> Result<EventFd, Fault> {
    let link = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()));
    if !link.is_ok_and(|link| link.as_os_str() == "anon_inode:[eventfd]") {
        return Err(Fault("the interrupt is no event"));
    }
    fcntl(&fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(|_| Fault("the interrupt is no event"))?;
    // SAFETY: the descriptor is an event's, as its link says.
    Ok(unsafe { EventFd::from_owned_fd(fd) })
}

/// Copies the next frame of a ring, and says how many buffers it lay in. `None` if it was counted
/// instead.
fn take(
    ring: &Ring,
    regions: &[Region],
    waiting: u16,
    pool: &Arc<Pool>,
    counters: &BackingCounters,
) -> Result<(Option<Frame>, u16), Fault> {
    let mut frame = pool.take();
    if frame.is_none() {
        BackingCounters::count(&counters.no_buffer);
    }
    let mut length = 0;
    for index in 0..waiting {
        let buffer = ring.descriptor(regions, index)?;
        let end = length + buffer.length as usize;
        if end > MAX_FRAME && frame.take().is_some() {
            BackingCounters::count(&counters.oversized);
        }
        if let Some(frame) = &mut frame {
            buffer.read(regions, &mut frame.data_mut()[length..end])?;
        }
        length = end;
        if !buffer.goes_on {
            if let Some(frame) = &mut frame {
                frame.truncate(length);
            }
            return Ok((frame, index + 1));
        }
    }
    Err(Fault("a frame has no end"))
}

/// Copies a frame into the buffers of a ring; false if they are too few.
fn put(ring: &mut Ring, regions: &[Region], frame: &[Piece<'_>]) -> Result<bool, Fault> {
    let waiting = ring.waiting(regions)?;
    let mut bytes = frame.iter().map(|piece| piece.len()).sum::<usize>();
    // First how many buffers it takes: a buffer of which the length was overwritten is not whole again.
    let mut buffers = heapless::Vec::<_, MAX_BUFFERS>::new();
    while bytes > 0 || buffers.is_empty() {
        let index = buffers.len() as u16;
        if index == waiting {
            return Ok(false);
        }
        let buffer = ring.descriptor(regions, index)?;
        let part = bytes.min(buffer.length as usize);
        bytes -= part;
        buffers.push((buffer, part)).map_err(|_| Fault("the buffers are too short"))?;
    }
    let mut pieces = frame.iter().copied().filter(|piece| !piece.is_empty());
    let mut piece: Piece<'_> = &[];
    for (index, (buffer, part)) in buffers.iter().enumerate() {
        let mut at = 0;
        while at < *part {
            if piece.is_empty() {
                let Some(next) = pieces.next() else { break };
                piece = next;
            }
            let (now, later) = piece.split_at(piece.len().min(part - at));
            buffer.write(regions, at, now)?;
            at += now.len();
            piece = later;
        }
        ring.fill(regions, index as u16, *part as u32, index + 1 < buffers.len())?;
    }
    ring.advance(regions, buffers.len() as u16)?;
    Ok(true)
}

/// Buffers that one frame may take: of 256 bytes and more.
const MAX_BUFFERS: usize = 40;

#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
#[cfg(test)]
mod tests;
