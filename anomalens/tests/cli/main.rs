//! The program as a person meets it: arguments, exit codes, messages, and what is on the disk afterwards.

mod array;
mod bench;
mod brain;
mod bundle;
mod command;
mod dicom;
mod evaluate;
mod fitness;
mod methods;
mod objects;
mod one_pass;
mod orthanc;
mod output;
mod shards;
#[path = "../../../dicom-bridge/tests/common/mod.rs"]
mod sources;
mod support;
mod sweep;
mod tune;
mod volume;
