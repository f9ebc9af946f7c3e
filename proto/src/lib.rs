//! The two protocols as Rust types: [`v1`] is nic.v1, the public API; [`datapath::v1`] is
//! nic.datapath.v1, what nic-agent and nic-datapath say to each other.
//!
//! Everything here is generated from the files under `proto/nic`, which are the documentation.
//! Messages of nic.v1 also have their canonical JSON form through serde; in it an unknown field is
//! an error.
//!
//! **May know:** the proto files. **May not know:** what any of it means. Validation, conversion
//! and defaults belong to those who use these types.

#![forbid(unsafe_code)]

/// The proto files of nic.v1 and what they import, with their comments, as a
/// `google.protobuf.FileDescriptorSet`: what a reflection service serves.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/nic_v1_descriptor.bin"));

/// The public API.
#[expect(
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::large_enum_variant,
    unused_qualifications,
    reason = "generated code"
)]
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/nic.v1.rs"));
    include!(concat!(env!("OUT_DIR"), "/nic.v1.serde.rs"));
}

/// Between the two processes on the card.
pub mod datapath {
    /// The first version, which is in use.
    #[expect(
        clippy::allow_attributes,
        clippy::allow_attributes_without_reason,
        unused_qualifications,
        reason = "generated code"
    )]
    pub mod v1 {
        include!(concat!(env!("OUT_DIR"), "/nic.datapath.v1.rs"));
    }
}

/// What nic-agent's store keeps on disk; nothing sends these messages.
pub mod storage {
    /// The first version, which is in use.
    pub mod v1 {
        include!(concat!(env!("OUT_DIR"), "/nic.storage.v1.rs"));
    }
}
