//! Records say who: behind each veth, and at the other end.

mod cni;
mod docker;
mod inventory;
mod namespaces;
mod podman;
mod sources;

use std::error::Error;

type TestResult = Result<(), Box<dyn Error>>;
