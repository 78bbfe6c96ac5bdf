//! Records say who: behind each veth, and at the other end.

mod cni;
mod namespaces;

use std::error::Error;

type TestResult = Result<(), Box<dyn Error>>;
