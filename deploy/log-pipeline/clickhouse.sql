-- Where syslog-ng.conf puts flow records:  clickhouse-client --multiquery < clickhouse.sql
CREATE DATABASE IF NOT EXISTS flowmon;

-- A record as flowmon wrote it. What flowmon does not know is NULL.
CREATE TABLE IF NOT EXISTS flowmon.records (
    said String, -- RFC 3339, to the nanosecond
    first_seen String,
    time DateTime MATERIALIZED parseDateTimeBestEffort(said),
    day Date MATERIALIZED toDate(parseDateTimeBestEffort(said)),
    event String,
    node String,
    interface String,
    ifindex UInt32,
    namespace Nullable(String),
    endpoint Nullable(String),
    direction String,
    protocol String,
    local_ip Nullable(String),
    local_port Nullable(UInt16),
    remote_ip Nullable(String),
    remote_port Nullable(UInt16),
    icmp_id Nullable(UInt16),
    remote_kind Nullable(String),
    remote_namespace Nullable(String),
    remote_name Nullable(String),
    tx_packets UInt64,
    tx_bytes UInt64,
    rx_packets UInt64,
    rx_bytes UInt64,
    verdict Nullable(String),
    reason Nullable(String),
    policy Nullable(String)
) ENGINE = MergeTree PARTITION BY toYYYYMM(day) ORDER BY (day, node, interface, first_seen);

-- Counters are cumulative, so the biggest are a flow's latest, and a record that came twice changes nothing.
CREATE VIEW IF NOT EXISTS flowmon.flows AS
SELECT
    node, interface, ifindex, first_seen, protocol, local_ip, local_port, remote_ip, remote_port, icmp_id,
    max(time) AS last_said,
    any(direction) AS opened,
    any(namespace) AS of_namespace,
    any(endpoint) AS of_endpoint,
    any(remote_namespace) AS with_namespace,
    any(remote_name) AS with_name,
    max(tx_packets) AS packets_sent,
    max(tx_bytes) AS bytes_sent,
    max(rx_packets) AS packets_received,
    max(rx_bytes) AS bytes_received,
    max(verdict = 'denied') AS was_denied,
    any(policy) AS by_policy
FROM flowmon.records
GROUP BY node, interface, ifindex, first_seen, protocol, local_ip, local_port, remote_ip, remote_port, icmp_id;
