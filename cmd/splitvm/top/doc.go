// Package top is the screen of `splitvm top`: the vNodes of a rack with what they
// use and what moves, and the rack's monitors, as of two readings a moment apart.
//
// Model is pure but for the command that reads: readings and keys come in as
// messages, and View is text. What it isn't: it asks no monitor (the command's
// Read does), and nothing is changed from here.
package top
