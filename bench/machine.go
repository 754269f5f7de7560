package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// machine says where and when the figures were measured: they mean nothing without it.
func machine(now time.Time) (string, error) {
	cpuinfo, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "", err
	}
	loads, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "", err
	}
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return "", fmt.Errorf("uname: %w", err)
	}
	return describe(string(cpuinfo), string(loads), unix.ByteSliceToString(name.Release[:]), now)
}

// describe puts the description together from what the kernel says.
func describe(cpuinfo, loadavg, release string, now time.Time) (string, error) {
	model, cpus, virtual := runtime.GOARCH, 0, ""
	for line := range strings.Lines(cpuinfo) {
		key, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch strings.TrimSpace(key) {
		case "processor":
			cpus++
		case "model name":
			model = value
		case "flags":
			for flag := range strings.FieldsSeq(value) {
				if flag == "hypervisor" {
					virtual = ", a virtual machine"
				}
			}
		}
	}
	var load float64
	if _, err := fmt.Sscan(loadavg, &load); err != nil {
		return "", fmt.Errorf("read the load: %w", err)
	}
	text := fmt.Sprintf("machine  %s, CPUs: %d%s\nkernel   Linux %s, %s\ndate     %s\nload     %.2f in the minute before\n",
		model, cpus, virtual, release, runtime.GOARCH, now.UTC().Format("2006-01-02 15:04 MST"), load)
	if load > quiet {
		text += "         other programs are running: expect wider intervals\n"
	}
	return text, nil
}

// quiet is the load up to which nothing else runs that counts.
const quiet = 0.5
