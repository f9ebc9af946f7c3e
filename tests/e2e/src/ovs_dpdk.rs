//! Open vSwitch with DPDK in the card's place: the same interfaces, the same namespace, for figures that
//! are ratios to it. Its forwarding thread has a CPU of its own, as its guide has it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::daemon::Daemon;
use crate::error::LabError;
use crate::lab::{Lab, await_socket};
use crate::netns::{Node, Place};
use crate::run;

/// Debian's build with DPDK, which its package does not put before the other one.
const PROGRAM: &str = "/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk";

/// How long Open vSwitch may take until its bridge takes rules.
const START: Duration = Duration::from_secs(60);

/// A bridge `br0` of Open vSwitch with DPDK.
#[derive(Debug)]
pub struct OvsDpdk {
    folder: PathBuf,
    rules: PathBuf,
    database: Daemon,
    switch: Daemon,
}

impl OvsDpdk {
    /// Starts it on the card's ends of these places' interfaces, as ports 1, 2 and so on, with rules in
    /// ovs-ofctl's words. Nothing else may use the interfaces.
    pub fn start(lab: &mut Lab, places: &[Place], rules: &str) -> Result<OvsDpdk, LabError> {
        let port = |(index, place): (usize, &Place)| {
            (place.device, format!("net_af_packet{},iface={}", index + 1, place.device))
        };
        let ports: Vec<_> = places.iter().enumerate().map(port).collect();
        OvsDpdk::on(lab, "", &ports, rules)
    }

    /// Starts it on the software E-Switch, with the arguments that nic-datapath has in this lab, on the
    /// representors of these places as ports 1, 2 and so on. It puts no rules into the E-Switch.
    pub fn start_on_eswitch(lab: &mut Lab, places: &[Place], rules: &str) -> Result<OvsDpdk, LabError> {
        let port = |place: &Place| {
            let name = match place.device.strip_prefix("pf0") {
                Some(function) => format!("net_eswitch0,representor={function}"),
                None => "net_eswitch0".to_owned(),
            };
            (place.device, name)
        };
        let ports: Vec<_> = places.iter().map(port).collect();
        let device = format!("-d libnet_eswitch.so --vdev={}", lab.device());
        OvsDpdk::on(lab, &device, &ports, rules)
    }

    fn on(lab: &mut Lab, devices: &str, ports: &[(&str, String)], rules: &str) -> Result<OvsDpdk, LabError> {
        let folder = lab.folder().join("ovs-dpdk");
        // What an instance before this one left.
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).map_err(LabError::io("making a folder for Open vSwitch"))?;
        let file = folder.join("rules");
        fs::write(&file, rules).map_err(LabError::io("writing rules"))?;
        let database = start_database(lab, Node::Card, &folder)?;
        let control = Control { lab, folder: &folder };
        control.vsctl(&["--no-wait", "init"])?;
        // Without hugepages, as the card's own process runs here.
        let prefix = lab.prefix();
        let extra = format!("--no-pci --no-huge --legacy-mem -m 1024 --file-prefix={prefix}-ovs {devices}");
        control.set("dpdk-init=true")?;
        control.set(&format!("dpdk-extra=\"{extra}\""))?;
        control.set("pmd-cpu-mask=0x2")?;
        control.set("dpdk-lcore-mask=0x1")?;
        let switch = launch(lab, &folder)?;
        // Each change is over when the process has made it.
        let ovs = OvsDpdk { folder, rules: file, database, switch };
        let control = Control { lab, folder: &ovs.folder };
        let bridge = ["set", "bridge", "br0", "datapath_type=netdev", "fail_mode=secure"];
        control
            .vsctl(&[&["add-br", "br0", "--"][..], &bridge].concat())
            .inspect_err(|_| println!("{}", ovs.log()))?;
        for (index, (name, device)) in ports.iter().enumerate() {
            let arguments = format!("options:dpdk-devargs=\"{device}\"");
            let request = format!("ofport_request={}", index + 1);
            let interface = ["set", "interface", name, "type=dpdk", &arguments, &request];
            control.vsctl(&[&["add-port", "br0", name, "--"][..], &interface].concat())?;
        }
        control.load(&ovs.rules)?;
        Ok(ovs)
    }

    /// Kills it without a warning, and starts it again as its own scripts do: no packet passes until it has
    /// its rules back.
    pub fn kill_and_restart(&mut self, lab: &mut Lab) -> Result<(), LabError> {
        self.switch.kill();
        Control { lab, folder: &self.folder }.set("flow-restore-wait=true")?;
        self.switch = launch(lab, &self.folder)?;
        await_socket(&mut self.switch, &self.folder.join("br0.mgmt"))?;
        let control = Control { lab, folder: &self.folder };
        control.load(&self.rules)?;
        control.vsctl(&["--no-wait", "remove", "open_vswitch", ".", "other_config", "flow-restore-wait"])
    }

    /// The end of its log.
    pub fn log(&self) -> String {
        format!("{}\n{}", self.database.log_tail(), self.switch.log_tail())
    }
}

/// Open vSwitch's tools, against one instance of it.
struct Control<'a> {
    lab: &'a Lab,
    folder: &'a Path,
}

impl Control<'_> {
    fn run(&self, program: &str, args: &[&str]) -> Result<(), LabError> {
        let mut command = self.lab.command(Node::Card, program);
        places(&mut command, self.folder);
        run::output(command.args(args)).map(|_| ())
    }

    fn vsctl(&self, args: &[&str]) -> Result<(), LabError> {
        let database = format!("--db=unix:{}", self.folder.join("db.sock").display());
        let limit = format!("--timeout={}", START.as_secs());
        self.run("ovs-vsctl", &[&[database.as_str(), &limit], args].concat())
    }

    fn set(&self, setting: &str) -> Result<(), LabError> {
        self.vsctl(&["--no-wait", "set", "open_vswitch", ".", &format!("other_config:{setting}")])
    }

    fn load(&self, rules: &Path) -> Result<(), LabError> {
        let bridge = format!("unix:{}", self.folder.join("br0.mgmt").display());
        self.run(
            "ovs-ofctl",
            &["-O", "OpenFlow14", "--bundle", "add-flows", &bridge, &rules.to_string_lossy()],
        )
    }
}

/// Where an instance of Open vSwitch keeps its files.
pub(crate) fn places(command: &mut Command, folder: &Path) {
    for name in ["OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR"] {
        command.env(name, folder);
    }
}

/// Starts the database of an instance.
pub(crate) fn start_database(lab: &Lab, node: Node, folder: &Path) -> Result<Daemon, LabError> {
    let database = folder.join("conf.db");
    let schema = "/usr/share/openvswitch/vswitch.ovsschema";
    run::output(Command::new("ovsdb-tool").arg("create").arg(&database).arg(schema))?;
    let socket = folder.join("db.sock");
    let mut server = lab.lasting(node, "ovsdb-server");
    places(&mut server, folder);
    server.arg(&database).arg(format!("--remote=punix:{}", socket.display())).arg("--pidfile");
    let mut server = Daemon::start("ovsdb-server", server, lab.folder(), lab.options.keep)?;
    await_socket(&mut server, &socket)?;
    Ok(server)
}

fn launch(lab: &Lab, folder: &Path) -> Result<Daemon, LabError> {
    let mut switch = lab.lasting(Node::Card, PROGRAM);
    places(&mut switch, folder);
    switch.arg(format!("unix:{}", folder.join("db.sock").display())).arg("--pidfile");
    // DPDK looks there for a driver that is named without a path.
    switch.env("LD_LIBRARY_PATH", run::libraries());
    Daemon::start("ovs-vswitchd-dpdk", switch, lab.folder(), lab.options.keep)
}
