//! What ports say of a packet they received and do for one they send.

/// What a port found in a checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checksum {
    /// The port did not look.
    #[default]
    Unknown,
    /// Right.
    Good,
    /// Wrong.
    Bad,
    /// The field is not filled in yet, and the data is known to be whole: a
    /// packet from a virtual machine or a veth. Fill it in before it leaves the host.
    NotFilled,
}

/// Metadata of a received packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RxMeta {
    /// The tag control information of the VLAN tag that the port took off.
    pub stripped_vlan: Option<u16>,
    /// The IPv4 header's checksum.
    pub ip_checksum: Checksum,
    /// TCP's or UDP's checksum.
    pub l4_checksum: Checksum,
    /// The port's hash of the packet.
    pub rss_hash: Option<u32>,
}

/// The transport header whose checksum the port fills in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum L4 {
    /// None.
    #[default]
    None,
    /// TCP's.
    Tcp,
    /// UDP's.
    Udp,
}

/// What the port does to a packet that it sends. The default is nothing. The
/// lengths are needed for checksums; the transport checksum must then hold the
/// pseudo-header's sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TxMeta {
    /// Puts on a VLAN tag with this tag control information.
    pub insert_vlan: Option<u16>,
    /// Fills in the IPv4 header's checksum.
    pub ipv4_checksum: bool,
    /// Fills in the transport checksum.
    pub l4_checksum: L4,
    /// The network header is IPv6.
    pub ipv6: bool,
    /// Bytes of the Ethernet header with its tags.
    pub l2_len: u8,
    /// Bytes of the network header with its options.
    pub l3_len: u16,
    /// Bytes of the transport header.
    pub l4_len: u8,
}
