// Package rack is how a process takes part in a rack: Dial reaches whichever
// global monitor leads, and Keep makes a monitor a member and keeps it one by
// heartbeats.
//
// What it isn't: it serves nothing and decides nothing; see monitors/global.
//
// Every call has a deadline: the caller's, or CallTime.
package rack
