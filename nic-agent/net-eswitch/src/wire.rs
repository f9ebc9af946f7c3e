//! The far end of a port, for tests in the same process.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use nic_flow::PortId;

use crate::backing::{Backing, Inject};
use crate::device::{self, Device};
use crate::port::Port;

/// The far end of a port whose backing is `inject`: puts frames in as if they came from the wire, or
/// from the host's function, and takes out what leaves by the port.
pub struct Wire {
    // Keeps the pool of the frames alive, and tells when the device is gone.
    device: Arc<Device>,
    port: Arc<Port>,
}

/// Why a [`Wire`] does not do what it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// No device of that name was probed.
    #[error("there is no such device")]
    NoDevice,
    /// The device has no such port.
    #[error("the device has no such port")]
    NoPort,
    /// The port has another backing.
    #[error("the backing of the port is not inject")]
    NotInject,
    /// The frame is longer than the switch takes, or its buffers or the queue are full.
    #[error("the frame was not taken")]
    NotTaken,
}

impl Wire {
    /// The far end of a port.
    ///
    /// # Errors
    /// If there is no such port, or its backing is not `inject`.
    pub fn open(device: &str, port: PortId) -> Result<Wire, WireError> {
        let device = device::find(device).ok_or(WireError::NoDevice)?;
        let port = Arc::clone(device.ports.get(&port).ok_or(WireError::NoPort)?);
        match port.backing {
            Backing::Inject(_) => Ok(Wire { device, port }),
            _ => Err(WireError::NotInject),
        }
    }

    /// Puts a frame in.
    ///
    /// # Errors
    /// [`WireError::NotTaken`].
    pub fn send(&self, frame: &[u8]) -> Result<(), WireError> {
        let frame = self.device.pool.copy_of(frame).ok_or(WireError::NotTaken)?;
        self.inject().ok_or(WireError::NotInject)?.put(frame).map_err(|_| WireError::NotTaken)
    }

    /// Takes out the frame that left first, waiting for one up to `patience`.
    pub fn receive(&self, patience: Duration) -> Option<Vec<u8>> {
        self.inject()?.take(patience)
    }

    fn inject(&self) -> Option<&Inject> {
        match &self.port.backing {
            Backing::Inject(inject) => Some(inject),
            _ => None,
        }
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").field("device", &self.device.name).field("port", &self.port.id).finish()
    }
}
