#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| nic_fuzz::image::bfb_manifest(data));
