//! Which representors an application asked for.

use std::ffi::CString;

use nic_flow::PortId;

use crate::args::split;
use crate::ffi;

/// The ports whose representors are asked for.
pub(crate) type Asked = Vec<PortId>;

/// Why representors cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RepresentorError {
    #[error(
        "representor=...: not of the form [[c<n>]pf<n>]vf<n>, pf<n>, <n>, where <n> may be a list as [0,2-3]"
    )]
    Form,
    #[error("representor=...: a software E-Switch has no subfunctions")]
    SubFunction,
    #[error("representor=...: a software E-Switch has one controller, c0")]
    Controller,
    #[error("representor=...: the device has no function pf{pf}{vf}", vf = vf.map_or(String::new(), |vf| format!("vf{vf}")))]
    Absent { pf: u16, vf: Option<u16> },
}

/// Reads representor=... out of device arguments by ethdev's own parser.
pub(crate) fn asked(text: &str, ports: impl Iterator<Item = PortId>) -> Result<Asked, RepresentorError> {
    // That argument alone: the parser has room for 32 of them, writes behind it when there are more, and
    // does not see brackets as `split` does. With one `=` in all there is one.
    let Some(own) = split(text).into_iter().find(|part| part.starts_with("representor=")) else {
        return Ok(Asked::default());
    };
    if own.matches('=').count() > 1 {
        return Err(RepresentorError::Form);
    }
    let c_text = CString::new(own).map_err(|_| RepresentorError::Form)?;
    const MAX: usize = ffi::NES_MAX_LIST as usize;
    let mut parsed = ffi::nes_representors {
        type_: ffi::NES_REPRESENTOR_NONE,
        controllers: [0; MAX],
        n_controllers: 0,
        pfs: [0; MAX],
        n_pfs: 0,
        functions: [0; MAX],
        n_functions: 0,
    };
    // SAFETY: the text is a C string and `parsed` is where the answer goes.
    if unsafe { ffi::nes_parse_representors(c_text.as_ptr(), &mut parsed) } != 0 {
        return Err(RepresentorError::Form);
    }
    let ports: Vec<PortId> = ports.collect();
    resolve(&parsed, &ports)
}

fn resolve(parsed: &ffi::nes_representors, ports: &[PortId]) -> Result<Asked, RepresentorError> {
    let list = |numbers: &[u16], n: u16| numbers[..usize::from(n)].to_vec();
    if list(&parsed.controllers, parsed.n_controllers).iter().any(|&controller| controller != 0) {
        return Err(RepresentorError::Controller);
    }
    let mut pfs = list(&parsed.pfs, parsed.n_pfs);
    let vfs: Vec<Option<u16>> = match parsed.type_ {
        ffi::NES_REPRESENTOR_NONE => return Ok(Vec::new()),
        ffi::NES_REPRESENTOR_VF => {
            if pfs.is_empty() {
                pfs.push(0);
            }
            list(&parsed.functions, parsed.n_functions).into_iter().map(Some).collect()
        }
        ffi::NES_REPRESENTOR_PF => vec![None],
        ffi::NES_REPRESENTOR_SF => return Err(RepresentorError::SubFunction),
        _ => return Err(RepresentorError::Form),
    };
    let mut asked = Vec::new();
    for &pf in &pfs {
        for &vf in &vfs {
            let number = u8::try_from(pf).ok();
            let port = number.and_then(|pf| match vf {
                Some(vf) => PortId::vf(pf, vf),
                None => PortId::host_pf(pf),
            });
            let port = port.filter(|port| ports.contains(port));
            asked.push(port.ok_or(RepresentorError::Absent { pf, vf })?);
        }
    }
    Ok(asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(text: &str) -> Result<Vec<String>, RepresentorError> {
        let ports = ["p0", "pf0hpf", "pf0vf0", "pf0vf1", "pf0vf2", "p1", "pf1vf0"];
        let ports = ports.iter().map(|name| name.parse().unwrap());
        Ok(asked(text, ports)?.iter().map(PortId::to_string).collect())
    }

    #[test]
    fn every_form_of_dpdk_is_read() {
        assert_eq!(ask("vfs=3").unwrap(), [""; 0]);
        assert_eq!(ask("representor=1").unwrap(), ["pf0vf1"]);
        assert_eq!(ask("vfs=3,representor=[0,1-2],uplinks=2").unwrap(), ["pf0vf0", "pf0vf1", "pf0vf2"]);
        assert_eq!(ask("representor=vf[0,2]").unwrap(), ["pf0vf0", "pf0vf2"]);
        assert_eq!(ask("representor=pf0vf0").unwrap(), ["pf0vf0"]);
        assert_eq!(ask("representor=c0pf[0-1]vf0").unwrap(), ["pf0vf0", "pf1vf0"]);
        assert_eq!(ask("representor=pf0").unwrap(), ["pf0hpf"]);
    }

    #[test]
    fn what_the_device_does_not_have_is_refused() {
        assert_eq!(ask("representor=7"), Err(RepresentorError::Absent { pf: 0, vf: Some(7) }));
        assert_eq!(ask("representor=pf1"), Err(RepresentorError::Absent { pf: 1, vf: None }));
        assert_eq!(ask("representor=sf0"), Err(RepresentorError::SubFunction));
        assert_eq!(ask("representor=c1pf0vf0"), Err(RepresentorError::Controller));
        assert_eq!(ask("representor=x"), Err(RepresentorError::Form));
    }

    #[test]
    fn brackets_do_not_hide_more_arguments_than_the_parser_has_room_for() {
        let many = ",a=b".repeat(64);
        assert_eq!(ask(&format!("representor=[[]{many}")), Err(RepresentorError::Form));
        assert_eq!(ask(&format!("a=b{many},representor=1")).unwrap(), ["pf0vf1"]);
    }
}
