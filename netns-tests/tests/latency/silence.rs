//! Who does not answer, and who does not read.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use netns_tests::{Capture, Frame, Heading, Segment, Watch, interface_counters, require_root};
use serde_json::json;
use socket2::{Domain, Protocol, Socket, Type};

use crate::{PATIENCE, Pair, TestResult, count, crossed, end, flow_at, number, port_of};

#[test]
fn a_connection_that_nobody_answers_times_out() -> TestResult {
    const PORT: u16 = 8080;
    // After 1 and 3 s; TCP gives up another 4 s later.
    const RETRIES: u64 = 2;
    if !require_root("a_connection_that_nobody_answers_times_out") {
        return Ok(());
    }
    let loses_tcp =
        |heading, frame: &[u8]| heading == Heading::ToPod && Segment::parse(frame).is_some();
    let pair = Pair::apart(Duration::ZERO, loses_tcp)?;
    let namespace = &pair.near.namespace;
    namespace.set_sysctl("net/ipv4/tcp_syn_retries", &RETRIES.to_string())?;
    let linear = "net/ipv4/tcp_syn_linear_timeouts"; // since Linux 6.5
    if Path::new("/proc/sys").join(linear).exists() {
        namespace.set_sysctl(linear, "0")?;
    }
    let watch = pair.watch();
    let address = port_of(&pair.far, PORT)?;
    let given_up = namespace.run(|| TcpStream::connect(address))?;
    assert_eq!(
        given_up.map(drop).map_err(|error| error.kind()),
        Err(ErrorKind::TimedOut)
    );
    let said = end(watch);
    let asked = |pod: &flowmon::lab::Pod, direction: &str, side: &str| {
        json!({
            "endpoint": {"ifindex": pod.ifindex},
            "protocol": "tcp",
            "direction": direction,
            side: {"ip": address.ip(), "port": PORT},
            "tcp": {"state": "timeout"},
        })
    };
    let flow = said.one(&asked(&pair.near, "egress", "remote"));
    let (sent, again) = (number(flow, "/tx/packets")?, count(flow, "/tx/retransmits"));
    assert_eq!(
        (sent, again),
        (RETRIES as f64 + 1.0, Some(RETRIES)),
        "{flow}"
    );
    assert_eq!(flow.pointer("/rtt"), None, "{flow}");
    let flow = said.one(&asked(&pair.far, "ingress", "local"));
    assert_eq!(count(flow, "/rx/retransmits"), Some(RETRIES), "{flow}");
    Ok(())
}

#[test]
fn a_receiver_that_does_not_read_has_no_window() -> TestResult {
    const ROOM: usize = 8 << 10;
    const BYTES: usize = 256 << 10;
    if !require_root("a_receiver_that_does_not_read_has_no_window") {
        return Ok(());
    }
    let pair = Pair::close()?;
    let (near, far) = (&pair.near, &pair.far);
    let address = port_of(far, 0)?;
    let listener = far.namespace.run(|| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_recv_buffer_size(ROOM)?;
        socket.bind(&address.into())?;
        socket.listen(1)?;
        Ok::<_, std::io::Error>(std::net::TcpListener::from(socket))
    })??;
    let capture = Capture::start(pair.lab.node(), near);
    let before = interface_counters(pair.lab.node(), near);
    let interface = pair.lab.bridge();
    let args = ["--iface", interface, "--interval", "100ms"];
    let mut watch = Watch::start(pair.lab.node(), &args);
    let server = listener.local_addr()?;
    let client = near.namespace.run(|| TcpStream::connect(server))??;
    let (mut reader, _) = listener.accept()?;
    reader.set_read_timeout(Some(PATIENCE))?;
    let (local, remote) = (client.local_addr()?, server);
    // The rest waits in the sender until somebody reads.
    let mut writer = client.try_clone()?;
    let write = std::thread::spawn(move || {
        writer.write_all(&vec![b'.'; BYTES])?;
        writer.shutdown(std::net::Shutdown::Write)
    });
    watch.wait_for_record(|record| {
        record.pointer("/endpoint/ifindex") == Some(&json!(near.ifindex))
            && count(record, "/rx/zero_windows").is_some_and(|times| times > 0)
    });
    let mut read = Vec::new();
    reader.read_to_end(&mut read)?;
    assert_eq!(read.len(), BYTES);
    write.join().map_err(|_| "the sender panicked")??;
    drop((client, reader));
    let frames = capture.stop_with_frames(&crossed(&pair.lab, near, before));
    let said = end(watch);
    let known = closed_windows(&frames.rx);
    assert!(known > 0);
    let flow = flow_at(&said, near, "tcp", local, remote);
    let seen = ["tx", "rx"].map(|half| count(flow, &format!("/{half}/zero_windows")));
    assert_eq!(seen, [Some(0), Some(known)], "{flow}");
    let flow = flow_at(&said, far, "tcp", remote, local);
    let seen = ["tx", "rx"].map(|half| count(flow, &format!("/{half}/zero_windows")));
    assert_eq!(seen, [Some(known), Some(0)], "{flow}");
    Ok(())
}

/// Segments that leave no room.
fn closed_windows(frames: &[Frame]) -> u64 {
    let segments = frames
        .iter()
        .filter_map(|frame| Segment::parse(&frame.headers));
    let closed = segments.filter(|segment| segment.window == 0 && !segment.has(Segment::RST));
    closed.count() as u64
}
