//! A delay that is known shows on the side where it is, and only there.

use std::error::Error;
use std::time::Duration;

use flowmon::lab::Pod;
use netns_tests::{require_root, tool};
use serde_json::Value;

use crate::{Connection, Pair, TestResult, end, flow_at, number};

/// Each way.
const DELAY: Duration = Duration::from_millis(20);
/// There and back.
const DELAY_US: f64 = 40_000.0;
/// What the least of many takes longer than it must, at most.
const MORE_US: f64 = 5_000.0;

const ROUNDS: usize = 20;

#[test]
fn timing_a_delay_shows_on_its_side_and_only_there() -> TestResult {
    if !require_root("timing_a_delay_shows_on_its_side_and_only_there") {
        return Ok(());
    }
    let pair = Pair::apart(DELAY, |_, _| false)?;
    let (near, far) = (&pair.near, &pair.far);
    let watch = pair.watch();
    let mut asking = Connection::open(near, far)?;
    asking.talk(ROUNDS)?;
    let kernel = RoundTrip::of(near)?;
    // It is the same side, whoever opens the connection.
    let mut asked = Connection::open(far, near)?;
    asked.talk(ROUNDS)?;
    let (asking, asked) = (asking.close()?, asked.close()?);
    let said = end(watch);
    for (near_end, far_end) in [(asking.0, asking.1), (asked.1, asked.0)] {
        let at_near = flow_at(&said, near, "tcp", near_end, far_end);
        is_on_one_side(at_near, "network", "container")?;
        let at_far = flow_at(&said, far, "tcp", far_end, near_end);
        is_on_one_side(at_far, "container", "network")?;
    }
    // The kernel's view has the way to the veth on top, and weighs what was last the most.
    let flow = flow_at(&said, near, "tcp", asking.0, asking.1);
    let average = number(flow, "/rtt/network/avg_us")?;
    assert!(is_near(average, kernel.smoothed_us), "{kernel:?} {flow}");
    let least = number(flow, "/rtt/network/min_us")?;
    assert!(is_near(least, kernel.least_us), "{kernel:?} {flow}");
    assert!(least <= kernel.least_us, "{kernel:?} {flow}");
    Ok(())
}

fn is_on_one_side(flow: &Value, delayed: &str, at_once: &str) -> TestResult {
    let time = |side: &str, what: &str| number(flow, &format!("/rtt/{side}/{what}"));
    let least = time(delayed, "min_us")?;
    assert!((DELAY_US..DELAY_US + MORE_US).contains(&least), "{flow}");
    assert!(time(at_once, "min_us")? < MORE_US, "{flow}");
    // There is but one handshake, and any may be interrupted: it is of the right order.
    for what in ["handshake_us", "avg_us"] {
        let long = time(delayed, what)?;
        assert!((DELAY_US..1.5 * DELAY_US).contains(&long), "{flow}");
        assert!(time(at_once, what)? < 0.5 * DELAY_US, "{flow}");
    }
    Ok(())
}

fn is_near(measured: f64, expected: f64) -> bool {
    (measured - expected).abs() <= expected * 0.1
}

/// What the kernel says of a pod's only connection.
#[derive(Debug, Clone, Copy)]
struct RoundTrip {
    smoothed_us: f64,
    least_us: f64,
}

impl RoundTrip {
    fn of(pod: &Pod) -> Result<Self, Box<dyn Error>> {
        let said = tool(&pod.namespace, "ss", &["-tinH", "state", "established"]);
        let milliseconds = |name: &str| -> Result<f64, Box<dyn Error>> {
            let mut words = said.split_whitespace();
            let value = words.find_map(|word| word.strip_prefix(name));
            let value = value.ok_or_else(|| format!("no {name} in {said}"))?;
            Ok(value.split('/').next().ok_or("a number")?.parse()?)
        };
        Ok(Self {
            smoothed_us: milliseconds("rtt:")? * 1000.0,
            least_us: milliseconds("minrtt:")? * 1000.0,
        })
    }
}
