//! Headers as bytes: one file a protocol, one order inside each file.
//!
//! A protocol file holds, from top to bottom: the offsets of its fields; a view
//! `Packet<T>` over borrowed or owned bytes, with getters and, where the bytes
//! are mutable, setters; a `Repr`, the header as plain values, with `parse`,
//! `buffer_len` and `emit`; its text form; its tests.
//!
//! The contract, once for all of them:
//!
//! * `Packet::new_checked` proves that the bytes hold what the header's own
//!   length fields claim. After it succeeded no getter panics, whatever the
//!   bytes are.
//! * `Packet::new_unchecked` is for emitting: the bytes are not a packet yet. A
//!   getter or setter may then panic if the buffer is shorter than the header.
//! * A setter of a length field (IHL, total length, data offset) can undo what
//!   `new_checked` proved; check again before reading variable parts.
//! * A view reads only what lies inside the header's stated length: `payload`
//!   ends where the protocol says, not where the buffer does.
//! * No checksum is verified unless `verify_checksum` is called: on virtual
//!   links a checksum may still be waiting for the hardware to fill it in.
//!
//! This crate knows bytes and nothing else: no flow keys, no packet buffers, no
//! policy, no input or output, and it allocates nothing.

#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod arp;
pub mod checksum;
pub mod ethernet;
pub mod icmpv4;
pub mod icmpv6;
pub mod ipv4;
pub mod ipv6;
pub mod mac;
pub mod tcp;
pub mod udp;
pub mod vlan;
pub mod vxlan;

mod bytes;
mod error;
mod ipproto;
#[cfg(test)]
mod testing;

pub use error::WireError;
pub use ethernet::EtherType;
pub use ipproto::IpProto;
pub use mac::MacAddr;
pub use vlan::Tci;
