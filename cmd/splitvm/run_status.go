package main

import (
	"encoding/json"
	"fmt"
	"os"

	"splitvm/monitors/processor"
)

// leaveStatus writes how a vNode ended for the processor monitor, which may be
// another process than the one that started it and can't wait for it.
func leaveStatus(path string, status int, failure error) error {
	if path == "" {
		return nil
	}
	s := processor.Status{Exit: status}
	if failure != nil {
		s.Failure = failure.Error()
	}
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", b, 0o600); err != nil {
		return fmt.Errorf("status for the processor monitor: %w", err)
	}
	return os.Rename(path+".new", path)
}
