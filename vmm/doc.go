// Package vmm runs virtual machines: memory slots over given RAM, vCPUs, the
// dispatch of their exits, interrupts, and an end from every state.
//
// It takes nothing for granted of the guest: no kernel, no device, no RAM at
// address 0, no present page. What a guest is made of comes from outside: RAM
// from whoever owns it (package memory), the registers that each vCPU starts
// with from Config.Start, devices through the Ports and MMIO buses, and exits
// go to Config.Exits before the buses see them. Package pc builds the machine
// that Linux boots on; bare guests use a VM alone.
//
// A vCPU is one goroutine locked to one OS thread, from New to Close. Devices
// run on their own goroutines and meet the vCPUs by eventfds (doorbells in,
// irqfds out), so a vCPU never waits for a device.
//
// Lock order: VM.mu, then interrupts.mu. Neither is held across KVM_RUN or a
// call to a device.
package vmm
