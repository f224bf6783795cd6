// The peer: reads the same streams as a Go program would, with net/http and bufio.Scanner,
// and keeps when each event came.
//
// usage: reader PORT STREAMS SECONDS
// Opens STREAMS connections evenly over SECONDS; prints how many streams ended whole.
package main

import (
	"bufio"
	"bytes"
	"fmt"
	"log"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

func main() {
	streams, err := strconv.Atoi(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	seconds, err := strconv.ParseFloat(os.Args[3], 64)
	if err != nil {
		log.Fatal(err)
	}
	url := "http://127.0.0.1:" + os.Args[1] + "/v1/completions"
	client := &http.Client{Transport: &http.Transport{}}
	start := time.Now()
	var whole atomic.Int64
	var all sync.WaitGroup
	for i := 0; i < streams; i++ {
		due := time.Duration(float64(i) / float64(streams) * seconds * float64(time.Second))
		time.Sleep(time.Until(start.Add(due)))
		all.Add(1)
		go func() {
			defer all.Done()
			if read(client, url) {
				whole.Add(1)
			}
		}()
	}
	all.Wait()
	fmt.Println(whole.Load())
}

func read(client *http.Client, url string) bool {
	answer, err := client.Post(url, "application/json", strings.NewReader("{}"))
	if err != nil {
		return false
	}
	defer answer.Body.Close()
	lines := bufio.NewScanner(answer.Body)
	arrivals := []time.Time{}
	done := false
	for lines.Scan() {
		data, found := bytes.CutPrefix(lines.Bytes(), []byte("data: "))
		if found {
			arrivals = append(arrivals, time.Now())
			done = bytes.Equal(data, []byte("[DONE]"))
		}
	}
	return done && lines.Err() == nil
}
