//! Tells cargo that the binary carries the migrations: a new file is a reason to build again.

fn main() {
    println!("cargo::rerun-if-changed=../../migrations");
}
