//go:build linux && amd64

package main

import (
	"fmt"
	"os/user"
	"strconv"
	"strings"
)

// account is whom a command runs as.
type account struct {
	name     string
	uid, gid uint32
	groups   []uint32 // supplementary
	home     string
}

// lookUpAccount reads USER[:GROUP], each a name of the root's or a number; empty
// is root. Numbers need not be known to the root.
func lookUpAccount(spec string) (account, error) {
	who := account{name: "root", home: "/root"}
	if spec == "" {
		return who, nil
	}
	name, group, hasGroup := strings.Cut(spec, ":")
	known, err := lookUpUser(name)
	if err == nil {
		who, err = fromPasswd(known)
	} else if id, numErr := strconv.ParseUint(name, 10, 32); numErr == nil {
		who, err = account{name: name, uid: uint32(id), home: "/"}, nil
	}
	if err != nil {
		return who, fmt.Errorf("user %q: %w", name, err)
	}
	if !hasGroup {
		return who, nil
	}
	who.gid, err = lookUpGroup(group)
	who.groups = nil // a group that is named is the only one
	return who, err
}

func lookUpUser(name string) (*user.User, error) {
	if _, err := strconv.ParseUint(name, 10, 32); err == nil {
		return user.LookupId(name)
	}
	return user.Lookup(name)
}

func fromPasswd(u *user.User) (account, error) {
	who := account{name: u.Username, home: u.HomeDir}
	var err error
	if who.uid, err = parseID(u.Uid); err != nil {
		return who, err
	}
	if who.gid, err = parseID(u.Gid); err != nil {
		return who, err
	}
	ids, err := u.GroupIds()
	if err != nil {
		return who, nil // a root without /etc/group: no supplementary groups
	}
	for _, id := range ids {
		gid, err := parseID(id)
		if err != nil {
			return who, err
		}
		who.groups = append(who.groups, gid)
	}
	return who, nil
}

func lookUpGroup(name string) (uint32, error) {
	if gid, err := parseID(name); err == nil {
		return gid, nil
	}
	g, err := user.LookupGroup(name)
	if err != nil {
		return 0, fmt.Errorf("group %q: %w", name, err)
	}
	return parseID(g.Gid)
}

func parseID(s string) (uint32, error) {
	id, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("%q is no user or group number", s)
	}
	return uint32(id), nil
}
