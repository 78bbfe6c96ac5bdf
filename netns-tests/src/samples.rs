//! What a daemon is scraped for.

use std::{
    collections::BTreeMap,
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use flowmon::lab::Namespace;
use flowmon_common::{Totals, Traffic};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// The body of what an HTTP server in `namespace` answers with a 200.
///
/// # Errors
///
/// When it does not.
pub fn http_get(namespace: &Namespace, address: SocketAddr, path: &str) -> io::Result<String> {
    let ask = || -> io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        // HTTP/1.0: the body ends with the connection.
        write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = namespace.run(ask).map_err(io::Error::other).flatten()?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.split(' ').nth(1) == Some("200") => Ok(body.to_owned()),
        _ => Err(io::Error::other(answer)),
    }
}

/// The samples of a page in Prometheus' text format, by name and labels as they are written.
#[derive(Debug)]
pub struct Samples(pub BTreeMap<String, f64>);

impl Samples {
    /// What `/metrics` at `address` says.
    ///
    /// # Panics
    ///
    /// When it does not answer, or a line is not a sample.
    pub fn scrape(namespace: &Namespace, address: SocketAddr) -> Self {
        let page = http_get(namespace, address, "/metrics");
        Self::parse(&page.unwrap_or_else(|error| panic!("scraping {address}: {error}")))
    }

    /// What such a page says.
    ///
    /// # Panics
    ///
    /// When a line is not a sample.
    pub fn parse(page: &str) -> Self {
        let samples = page.lines().filter(|line| !line.starts_with('#'));
        let sample = |line: &str| {
            let (series, value) = line.rsplit_once(' ')?;
            Some((series.to_owned(), value.parse().ok()?))
        };
        let all =
            samples.map(|line| sample(line).unwrap_or_else(|| panic!("not a sample: {line}")));
        Self(all.collect())
    }

    /// Scrapes until `is` holds.
    ///
    /// # Panics
    ///
    /// When it does not come to that.
    pub fn wait_for(
        namespace: &Namespace,
        address: SocketAddr,
        is: impl Fn(&Self) -> bool,
    ) -> Self {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let samples = Self::scrape(namespace, address);
            if is(&samples) {
                return samples;
            }
            assert!(Instant::now() < deadline, "it did not come: {samples:#?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The sum of a family's series that have all these labels: counts of something.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count, of less than 2^53"
    )]
    pub fn sum(&self, family: &str, labels: &[&str]) -> u64 {
        let of_it = |series: &&String| {
            let rest = series.strip_prefix(family);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('{'))
                && labels.iter().all(|label| series.contains(label))
        };
        let all = self.0.iter().filter(|(series, _)| of_it(series));
        all.map(|(_, value)| *value as u64).sum()
    }

    /// `flowmon_FAMILY_packets_total` and `_bytes_total` with this label, both ways.
    pub fn totals(&self, family: &str, label: &str) -> Totals {
        let way = |way: &str| {
            let labels = [label, &format!("way=\"{way}\"")];
            let sum = |unit: &str| self.sum(&format!("flowmon_{family}_{unit}_total"), &labels);
            Traffic {
                packets: sum("packets"),
                bytes: sum("bytes"),
            }
        };
        Totals {
            tx: way("tx"),
            rx: way("rx"),
        }
    }
}
