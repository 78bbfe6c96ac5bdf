//! The pipeline that is shipped, with a real syslog-ng and a real `ClickHouse`: what can be asked there is
//! what crossed the wire, also after the log was rotated and `ClickHouse` was away.

use std::{
    error::Error,
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use flowmon::lab::{Pod, traffic};
use netns_tests::{CLOSED, Site, finish, http_get, interface_counters, require_programs, tool};

type TestResult<T = ()> = Result<T, Box<dyn Error>>;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);
const CLICKHOUSE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8123);
const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/log-pipeline");

/// A program in the namespace of the site's node, killed when dropped.
struct Service(Child);

impl Service {
    fn start(site: &Site, command: &mut Command, said: &str) -> TestResult<Self> {
        let said = File::create(site.path(said))?;
        command
            .stdin(Stdio::null())
            .stdout(said.try_clone()?)
            .stderr(said);
        Ok(Self(site.lab.node().spawn_command(command)?))
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// Waits until `is`, or says what was waited for and what a service said.
fn wait(site: &Site, what: &str, said: &str, mut is: impl FnMut() -> bool) -> TestResult {
    let deadline = Instant::now() + PATIENCE;
    while !is() {
        if Instant::now() > deadline {
            let said = fs::read_to_string(site.path(said))?;
            return Err(format!("waited in vain: {what}; {said}").into());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn clickhouse(site: &Site) -> TestResult<Service> {
    let folder = site.folder.display();
    fs::write(
        site.path("config.xml"),
        format!(
            "<yandex>
             <logger><level>error</level><console>true</console></logger>
             <http_port>{}</http_port><tcp_port>9000</tcp_port><listen_host>127.0.0.1</listen_host>
             <path>{folder}/data/</path><tmp_path>{folder}/tmp/</tmp_path>
             <mark_cache_size>67108864</mark_cache_size><users_config>users.xml</users_config>
             <default_profile>default</default_profile><default_database>default</default_database>
             </yandex>",
            CLICKHOUSE.port()
        ),
    )?;
    fs::write(
        site.path("users.xml"),
        "<yandex><profiles><default/></profiles><quotas><default/></quotas><users><default>
         <password/><networks><ip>127.0.0.1</ip></networks>
         <profile>default</profile><quota>default</quota>
         </default></users></yandex>",
    )?;
    let mut command = Command::new("clickhouse-server");
    command.arg(format!("--config-file={}", site.path("config.xml")));
    let service = Service::start(site, &mut command, "clickhouse.out")?;
    wait(site, "ClickHouse answers", "clickhouse.out", || {
        http_get(site.lab.node(), CLICKHOUSE, "/").is_ok()
    })?;
    Ok(service)
}

/// The file that is shipped, with the site's log.
fn syslog_ng(site: &Site) -> TestResult<Service> {
    let config = fs::read_to_string(format!("{SHIPPED}/syslog-ng.conf"))?;
    let here = config.replace("/var/log/flowmon/flows.log", &site.path("flows.log"));
    assert_ne!(here, config);
    fs::write(site.path("syslog-ng.conf"), here)?;
    let mut command = Command::new("syslog-ng");
    command.args(["--foreground", "--stderr", "--no-caps"]);
    for (option, file) in [
        ("cfgfile", "syslog-ng.conf"),
        ("persist-file", "persist"),
        ("pidfile", "pid"),
        ("control", "control"),
    ] {
        command.arg(format!("--{option}={}", site.path(file)));
    }
    Service::start(site, &mut command, "syslog-ng.out")
}

/// The one line that a query results in, if there is one.
fn ask(site: &Site, query: &str) -> Option<String> {
    let mut client = netns_tests::command("clickhouse-client", &["--query", query]);
    let finished = finish(site.lab.node(), &mut client);
    (finished.code == Some(0)).then(|| finished.stdout.trim().to_owned())
}

/// Do the latest records of all flows at the pod's interface add up to what it counted?
fn is_whole(site: &Site, pod: &Pod) -> bool {
    let truth = interface_counters(site.lab.node(), pod);
    let expected = [
        truth.tx.packets,
        truth.tx.bytes,
        truth.rx.packets,
        truth.rx.bytes,
    ];
    let query = format!(
        "SELECT sum(packets_sent), sum(bytes_sent), sum(packets_received), sum(bytes_received) \
         FROM flowmon.flows WHERE interface = '{}'",
        pod.interface
    );
    ask(site, &query) == Some(expected.map(|number| number.to_string()).join("\t"))
}

#[test]
fn flows_in_clickhouse_are_what_crossed_the_wire() -> TestResult {
    let programs = ["syslog-ng", "clickhouse-server", "clickhouse-client"];
    if !require_programs("flows_in_clickhouse_are_what_crossed_the_wire", &programs) {
        return Ok(());
    }
    let site = Site::new("pipeline");
    let server = clickhouse(&site)?;
    let tables = fs::read_to_string(format!("{SHIPPED}/clickhouse.sql"))?;
    let create = ["--multiquery", "--query", &tables];
    tool(site.lab.node(), "clickhouse-client", &create);
    let shop = site.shop(CLOSED);
    let (mut daemon, _) = site.start(&shop.each_ref().map(String::as_str));
    let _collector = syslog_ng(&site)?;
    let client = site.add(&mut daemon, "c", 2)?;
    let web = site.add(&mut daemon, "w", 3)?;
    let transfer = |ports: std::ops::Range<u16>| -> TestResult {
        for port in ports {
            let address = (web.ipv4().ok_or("no address")?, port).into();
            traffic::tcp_transfer(&client.namespace, &web.namespace, address, 1200, 900)?;
        }
        Ok(())
    };
    let arrived = |what: &str| {
        wait(&site, what, "syslog-ng.out", || {
            is_whole(&site, &client) && is_whole(&site, &web)
        })
    };
    transfer(8000..8050)?;
    arrived("what was logged is in ClickHouse")?;

    // As logrotate does. And the engine is away for a while.
    drop(server);
    transfer(8050..8100)?;
    fs::rename(site.path("flows.log"), site.path("flows.log.1"))?;
    transfer(8100..8150)?;
    wait(&site, "another file is begun", "syslog-ng.out", || {
        fs::metadata(site.path("flows.log")).is_ok_and(|file| file.len() > 0)
    })?;
    let _server = clickhouse(&site)?;
    arrived("what was logged meanwhile is, too")?;

    let denied = "SELECT count(), countIf(by_policy = 'shop/closed'), min(local_port), max(local_port) \
                  FROM flowmon.flows WHERE was_denied AND interface = 'vethw'";
    assert_eq!(ask(&site, denied).as_deref(), Some("150\t150\t8000\t8149"));
    let others = "SELECT count() FROM flowmon.flows WHERE was_denied AND interface != 'vethw'";
    assert_eq!(ask(&site, others).as_deref(), Some("0"));
    assert_eq!(daemon.stop().code, Some(0));
    Ok(())
}
