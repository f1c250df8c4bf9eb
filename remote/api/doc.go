// Package api is the rack's control plane as gRPC: the messages and services
// by which monitors, the processor hosts and the command line talk. The *.proto
// files here are its documentation and its source; the Go is generated from
// them by `make proto`, committed, and compared in the tests.
//
// What it isn't: lines and blocks do not travel here (remote/wire), and nothing
// here has behaviour. Field numbers and enum values are append-only.
package api

//go:generate go run ./internal/gen -dir .
