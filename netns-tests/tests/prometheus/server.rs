//! A real Prometheus.

use std::{
    error::Error,
    fmt::Write as _,
    fs::File,
    net::SocketAddr,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use netns_tests::{Site, http_get};
use serde_json::Value;

/// The alerts that are shipped.
const RULES: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../deploy/prometheus/rules.yml"
);
/// Longer than it takes to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
const LISTENS: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9090);

/// A server in the namespace of the site's node, killed when dropped.
pub(crate) struct Prometheus<'a> {
    site: &'a Site,
    target: SocketAddr,
    child: Child,
}

impl<'a> Prometheus<'a> {
    /// Starts one that scrapes `target` four times a second, and waits until it has begun.
    pub(crate) fn start(site: &'a Site, target: SocketAddr) -> Result<Self, Box<dyn Error>> {
        let config = format!(
            "global: {{scrape_interval: 250ms, evaluation_interval: 250ms}}\n\
             rule_files: ['{RULES}']\n\
             scrape_configs: [{{job_name: flowmon, static_configs: [{{targets: ['{target}']}}]}}]\n"
        );
        let path = site.path("prometheus.yml");
        std::fs::write(&path, config)?;
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={path}"))
            .arg(format!("--storage.tsdb.path={}", site.path("tsdb")))
            .arg(format!("--web.listen-address={LISTENS}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(site.path("prometheus.err"))?);
        let child = site.lab.node().spawn_command(&mut command)?;
        let server = Self {
            site,
            target,
            child,
        };
        server.wait("it is ready", || {
            let is_ready = http_get(site.lab.node(), LISTENS, "/-/ready").is_ok();
            Ok(is_ready.then_some(()))
        })?;
        server.wait_for("up", 1.0)?;
        Ok(server)
    }

    /// The result of an instant query: of each series its labels and its value or values.
    pub(crate) fn ask(&self, query: &str) -> Result<Vec<Value>, Box<dyn Error>> {
        let mut escaped = String::new();
        for byte in query.bytes() {
            write!(escaped, "%{byte:02X}")?;
        }
        let path = format!("/api/v1/query?query={escaped}");
        let answer: Value = serde_json::from_str(&http_get(self.site.lab.node(), LISTENS, &path)?)?;
        let result = answer.pointer("/data/result").and_then(Value::as_array);
        Ok(result.ok_or("no result")?.clone())
    }

    /// The value of a query whose result is one series, or none.
    pub(crate) fn value(&self, query: &str) -> Result<Option<f64>, Box<dyn Error>> {
        let result = self.ask(query)?;
        let [one] = result.as_slice() else {
            assert!(result.is_empty(), "{query}: {result:?}");
            return Ok(None);
        };
        let value = one.pointer("/value/1").and_then(Value::as_str);
        Ok(Some(value.ok_or("no value")?.parse()?))
    }

    /// Asks until the value is this.
    pub(crate) fn wait_for(&self, query: &str, expected: f64) -> Result<(), Box<dyn Error>> {
        let mut last = None;
        let waited = self.wait(query, || {
            last = self.value(query)?;
            Ok(last.filter(|value| value.to_bits() == expected.to_bits()))
        });
        waited.map_err(|error| {
            let page = http_get(self.site.lab.node(), self.target, "/metrics");
            format!("{last:?} is not {expected}: {error}; {page:#?}").replace("\\n", "\n")
        })?;
        Ok(())
    }

    /// Asks until there is an answer.
    pub(crate) fn wait_for_any(&self, query: &str) -> Result<(), Box<dyn Error>> {
        self.wait(query, || {
            let is_answered = !self.ask(query)?.is_empty();
            Ok(is_answered.then_some(()))
        })
    }

    fn wait<T>(
        &self,
        what: &str,
        mut is: impl FnMut() -> Result<Option<T>, Box<dyn Error>>,
    ) -> Result<T, Box<dyn Error>> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = is()? {
                return Ok(found);
            }
            if Instant::now() > deadline {
                let said = std::fs::read_to_string(self.site.path("prometheus.err"))?;
                let last = said.lines().next_back().unwrap_or_default();
                return Err(format!("waited in vain: {what}; Prometheus says: {last}").into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Prometheus<'_> {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}
