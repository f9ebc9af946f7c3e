//! Big-endian loads and stores at an offset; they panic past the end, which a
//! checked view rules out.

#[inline]
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes(array_at(bytes, at))
}

#[inline]
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(array_at(bytes, at))
}

#[inline]
pub(crate) fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

#[inline]
pub(crate) fn set_u16_at(bytes: &mut [u8], at: usize, value: u16) {
    set_array_at(bytes, at, value.to_be_bytes());
}

#[inline]
pub(crate) fn set_u32_at(bytes: &mut [u8], at: usize, value: u32) {
    set_array_at(bytes, at, value.to_be_bytes());
}

#[inline]
pub(crate) fn set_array_at<const N: usize>(bytes: &mut [u8], at: usize, value: [u8; N]) {
    bytes[at..at + N].copy_from_slice(&value);
}
